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


def running(proc: Path = PROC) -> int | None:
    """Tasks that run or wait for a CPU or a disk at this moment, without the one that asks.

    It is these whose mean over a minute is the load. None where the kernel does not say.
    """
    found = {}
    try:
        for line in (proc / "stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name in ("procs_running", "procs_blocked"):
                found[name] = int(value)
        return max(0, found["procs_running"] + found["procs_blocked"] - 1)
    except (OSError, ValueError, KeyError):
        return None
