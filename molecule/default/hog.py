"""Run on a host: gives the slice of an autoscaled node a limit of memory, and takes what is in it.

    python3 hog.py limit UNIT BYTES   limit the slice of a unit; prints the slice
    python3 hog.py left UNIT BYTES    hold all but so many bytes of it until killed; ready when nodes know

Where the host's systemd cannot limit memory, `limit` prints nothing, and there is nothing to take.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PAGE = os.urandom(4096)
STEP = 1 << 20
#: Seconds after which a node has surely looked at the memory that is left: it does so each second.
SEEN = 5
#: The files of a group by version: its limit, its use, and the name of what can be taken from it at once.
VERSIONS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def show(name: str, unit: str) -> str:
    words = ["systemctl", "show", "--value", "--property", name, unit]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def room(group: str) -> tuple[int, int]:
    """The limit of a group and what is left of it; 0 without a limit."""
    for top in (CGROUPS, CGROUPS / "memory"):
        folder = top / group.strip("/")
        for limit, used, spare in VERSIONS:
            if (folder / limit).exists() and (text := (folder / limit).read_text().strip()).isdigit():
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                return int(text), int(text) - int((folder / used).read_text()) + int(stat[spare])
    return 0, 0


def limit(unit: str, size: int) -> str:
    name = show("Slice", unit)
    subprocess.run(["systemctl", "set-property", "--runtime", name, f"MemoryMax={size}"], check=True)
    # The kernel counts in pages, and writes no limit as a number too.
    return name if abs(room(show("ControlGroup", name))[0] - size) < STEP else ""


def leave(unit: str, size: int) -> None:
    group = show("ControlGroup", show("Slice", unit))
    held = []
    full = 0.0
    while True:
        while room(group)[1] > size + STEP:
            held.append(PAGE * (STEP // len(PAGE)))
        full = full or time.monotonic()
        if time.monotonic() - full > SEEN:
            say_ready()
        time.sleep(0.2)


def say_ready() -> None:
    if address := os.environ.pop("NOTIFY_SOCKET", ""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", address.replace("@", "\0", 1))


if __name__ == "__main__":
    verb, unit, size = sys.argv[1:]
    if verb == "limit":
        print(limit(unit, int(size)))
    else:
        leave(unit, int(size))
