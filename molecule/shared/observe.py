"""Run on a host: prints what runs of a fleet, as systemd and /proc show it, without asking the fleet itself.

    python3 observe.py FLEET

{"units": {"worker@default-1": {"state", "pid", "began", "argv", "environment", "restarts", "children",
                                "unit"}, ...},
 "strays": [pids of the fleet's processes that belong to none of its units],
 "listening": ["127.0.0.1:6379", ...]}
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROPERTIES = [
    "Id",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "ControlGroup",
    "ExecMainStartTimestampMonotonic",
]


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout


def words_of(path: Path) -> list[str]:
    """The NUL-separated words of a file of /proc; none when the process is gone."""
    try:
        return path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def environment_of(pid: int) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words_of(Path(f"/proc/{pid}/environ")) if "=" in word)


def control_group_of(pid: int) -> str:
    """The process's place in systemd's tree, on either version of cgroups."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    places = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
    return places.get("name=systemd", places.get("", ""))


def observe(fleet: str) -> dict[str, object]:
    found = systemctl("show", "--all", f"celery-{fleet}-*.service", "--property", ",".join(PROPERTIES))
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines()) for block in found.split("\n\n") if block
    ]
    groups = {int(path.name): control_group_of(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    units: dict[str, dict[str, Any]] = {}
    for block in blocks:
        name = block["Id"].removeprefix(f"celery-{fleet}-").removesuffix(".service")
        pid = int(block["MainPID"])
        units[name] = {
            "unit": block["Id"],
            "state": block["ActiveState"],
            "pid": pid,
            "began": time.time() - time.monotonic() + int(block["ExecMainStartTimestampMonotonic"]) / 1e6,
            "restarts": int(block["NRestarts"]),
            "argv": words_of(Path(f"/proc/{pid}/cmdline")) if pid else [],
            "environment": environment_of(pid) if pid else {},
            "children": [
                other for other, group in groups.items() if pid != other and group == block["ControlGroup"]
            ]
            if block["ControlGroup"]
            else [],
        }
    known = {pid for unit in units.values() for pid in [unit["pid"], *unit["children"]]}
    members = [pid for pid in groups if environment_of(pid).get("CELERYOPS_FLEET") == fleet]
    sockets = subprocess.run(
        ["ss", "--no-header", "--listening", "--tcp", "--numeric"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {
        "units": units,
        "strays": sorted(set(members) - known),
        "listening": sorted({line.split()[3] for line in sockets}),
    }


if __name__ == "__main__":
    print(json.dumps(observe(sys.argv[1])))
