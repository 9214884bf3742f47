"""Memory that this process may still use: of the machine, and of every cgroup above it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
#: Version 1 writes "no limit" as a number near 2^63.
UNLIMITED = 2**60


class Memory(NamedTuple):
    """Bytes; -1 where the platform does not say."""

    total: int
    available: int


class Cgroup(NamedTuple):
    """The folders of this process's cgroup and of those above it, nearest first."""

    version: int
    folders: list[Path]


def of_process(controller: str, proc: Path = PROC, root: Path = CGROUPS) -> Cgroup:
    """The cgroups that rule a resource for this process.

    Parameters:
        controller: ``memory``, ``cpu`` or another controller's name.
        proc: Where procfs is.
        root: Where the cgroup filesystems are mounted.
    """
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Cgroup(0, [])
    unified = ""
    for line in lines:
        number, names, path = line.split(":", 2)
        if number == "0" and not names:
            unified = path
        elif controller in names.split(","):
            mounts = [root / names, root / controller]
            top = next((mount for mount in mounts if mount.is_dir()), None)
            if top is not None:
                return Cgroup(1, list(_upwards(top, path)))
    if (root / "cgroup.controllers").exists():
        return Cgroup(2, list(_upwards(root, unified)))
    return Cgroup(0, [])


def _upwards(top: Path, path: str) -> Iterator[Path]:
    folder = top / path.strip("/")
    # In a container the path may be the host's while the mount begins at the container's own group.
    if ".." in Path(path).parts or not folder.is_dir():
        folder = top
    while True:
        yield folder
        if folder == top:
            return
        folder = folder.parent


def read(proc: Path = PROC, root: Path = CGROUPS) -> Memory:
    """What there is and what is left, by the tightest of all bounds."""
    total, available = -1, -1
    try:
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemTotal":
                total = int(value.split()[0]) * 1024
            elif name == "MemAvailable":
                available = int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    group = of_process("memory", proc, root)
    for folder in group.folders:
        for limit, left in _bounds(group.version, folder):
            total = limit if total < 0 else min(total, limit)
            # A group may have taken more than its `high`.
            left = max(left, 0)
            available = left if available < 0 else min(available, left)
    return Memory(total, available)


def _bounds(version: int, folder: Path) -> Iterator[tuple[int, int]]:
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    used = number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    for name in names:
        limit = number(folder / name)
        if limit is None or limit >= UNLIMITED or used is None:
            continue
        # Files that nobody has touched lately make way as soon as memory is wanted.
        yield limit, limit - used + _inactive(version, folder)


def _inactive(version: int, folder: Path) -> int:
    wanted = "inactive_file" if version == 2 else "total_inactive_file"
    try:
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == wanted:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def number(path: Path) -> int | None:
    """The number in a file; None for ``max``, or where there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
