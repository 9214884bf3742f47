"""Run on a host: prints the main processes of the fleet, found in /proc alone, whatever looks after them.

    python3 look.py FLEET

{"default-1": {"pid", "argv", "unit", "parent", "fingerprint", "user"}, ..., "beat": ...}
A second process of one name is called "default-1 again".
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
from pathlib import Path


def words(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")


def unit_of(process: Path) -> str:
    """The unit whose control group the process is in; empty without systemd."""
    groups = (process / "cgroup").read_text().split()
    return next((part for group in groups for part in group.split("/") if part.startswith("celery-")), "")


def look(fleet: str) -> dict[str, dict[str, object]]:
    members: dict[int, dict[str, object]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(word.split("=", 1) for word in words(process / "environ") if "=" in word)
            if environment.get("CELERYOPS_FLEET") == fleet and environment.get("CELERYOPS_NODE"):
                members[int(process.name)] = {
                    "name": environment["CELERYOPS_NODE"],
                    "pid": int(process.name),
                    "argv": words(process / "cmdline"),
                    "unit": unit_of(process),
                    "parent": int((process / "stat").read_text().rpartition(")")[2].split()[1]),
                    "fingerprint": environment.get("CELERYOPS_FINGERPRINT", ""),
                    "user": pwd.getpwuid(process.stat().st_uid).pw_name,
                }
        except OSError:
            continue
    found: dict[str, dict[str, object]] = {}
    for member in members.values():
        if member["parent"] not in members:
            name = str(member.pop("name"))
            found[f"{name} again" if name in found else name] = member
    return found


def become(user: str) -> None:
    """In a container without CAP_SYS_PTRACE root may not read the environment of others; their owner may."""
    with contextlib.suppress(KeyError):  # There is no such user before the first deploy.
        entry = pwd.getpwnam(user)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


if __name__ == "__main__":
    become("celery")
    print(json.dumps(look(sys.argv[1])))
