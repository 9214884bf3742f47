"""Run on a host: prints which processes a fleet's units have, and how often each was started since the boot.

python3 look.py FLEET
{"pids": {"worker@default-1": 123, ...}, "starts": {"worker@default-1": 2, ...}}
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys

# What systemd writes when it begins to start a unit (systemd.journal-fields(7), sd-messages.h).
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"


def lines(*words: str) -> list[str]:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()


def main(fleet: str) -> None:
    def short(unit: str) -> str:
        return unit.removeprefix(f"celery-{fleet}-").removesuffix(".service")

    pids = {}
    for line in lines("systemctl", "list-units", "--plain", "--no-legend", f"celery-{fleet}-*.service"):
        unit = line.split()[0]
        pids[short(unit)] = int(lines("systemctl", "show", "--value", "--property=MainPID", unit)[0])
    entries = [
        json.loads(line) for line in lines("journalctl", "--boot", "-o", "json", f"MESSAGE_ID={STARTING}")
    ]
    units = [entry.get("UNIT", "") for entry in entries]
    starts = collections.Counter(short(unit) for unit in units if unit.startswith(f"celery-{fleet}-"))
    print(json.dumps({"pids": pids, "starts": starts}))


if __name__ == "__main__":
    main(sys.argv[1])
