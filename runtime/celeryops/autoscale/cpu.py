"""CPUs that this process may use, and how busy they are."""

from __future__ import annotations

import os
from pathlib import Path

from celeryops.autoscale.memory import CGROUPS, PROC, number, of_process


def allowed(proc: Path = PROC, root: Path = CGROUPS) -> float:
    """CPUs by affinity, or fewer when a cgroup above this process has a quota."""
    try:
        cpus = float(len(os.sched_getaffinity(0)))
    except AttributeError:
        cpus = float(os.cpu_count() or 1)
    group = of_process("cpu", proc, root)
    for folder in group.folders:
        quota = _quota(group.version, folder)
        if quota:
            cpus = min(cpus, quota)
    return max(cpus, 0.01)


def _quota(version: int, folder: Path) -> float | None:
    if version == 1:
        quota, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
        return quota / period if quota and period and quota > 0 else None
    try:
        words = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError):
        return None


def load() -> float:
    """Load average of a minute, 0 where the platform has none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0
