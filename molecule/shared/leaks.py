"""Run on a host: finds every place where a secret can be read by others, or stands where it does not belong.

Looks at the command line of every process, at what systemd tells anybody of the units, at the journal, at
every file of logs, and at all other files that anybody may read. Secrets arrive on standard input, at the end
of this file itself: command lines are looked at.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

FOLDERS = ("/dev/shm", "/etc", "/home", "/opt", "/run", "/srv", "/tmp", "/usr/local", "/var")
# None of them may hold a secret, whoever may read them. The journal's own files are read through journalctl.
LOGS = ("/var/log",)
NOT_READ = {"/run/log/journal", "/var/cache/molecule", "/var/lib/apt", "/var/lib/dpkg", "/var/log/journal"}
LARGEST = 16 << 20

Text = tuple[str, bytes]


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written: as it is, in a URL, in JSON, in base64."""
    return {
        secret.encode(),
        quote(secret, safe="").encode(),
        quote(secret).encode(),
        json.dumps(secret)[1:-1].encode(),
        base64.b64encode(secret.encode()).rstrip(b"="),
    }


def command_lines() -> Iterator[Text]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield str(path), path.read_bytes().replace(b"\0", b" ")


def files(folders: Iterable[str], whoever_reads: bool = False) -> Iterator[Text]:
    """Files that anybody may read and reach, or all of them."""

    def reachable(folder: str) -> bool:
        with contextlib.suppress(OSError):
            return whoever_reads or bool(os.stat(folder).st_mode & stat.S_IXOTH)
        return False

    for folder in folders:
        for parent, below, names in os.walk(folder):
            paths = {name: f"{parent}/{name}" for name in below}
            below[:] = [name for name, path in paths.items() if path not in NOT_READ and reachable(path)]
            for path in (Path(parent, name) for name in names):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    readable = whoever_reads or status.st_mode & stat.S_IROTH
                    if stat.S_ISREG(status.st_mode) and readable and status.st_size <= LARGEST:
                        yield str(path), path.read_bytes()


def of_systemd() -> Iterator[Text]:
    """What a host without systemd does not have."""
    commands = {
        "the journal": ["journalctl", "--no-pager", "--output", "cat"],
        "systemctl show": ["systemctl", "show", "--all", "celery-*", "redis*"],
        "systemctl cat": ["systemctl", "cat", "celery-*"],
    }
    if not Path("/run/systemd/system").is_dir():
        return
    for place, command in commands.items():
        if shutil.which(command[0]):
            yield place, subprocess.run(command, check=False, capture_output=True).stdout


def leaks(secrets: Iterable[str]) -> list[str]:
    wanted = {form for secret in secrets for form in forms(secret)}
    texts = [command_lines(), of_systemd(), files(FOLDERS), files(LOGS, whoever_reads=True)]
    found = [place for one in texts for place, text in one if any(form in text for form in wanted)]
    return list(dict.fromkeys(found))


def show_leaks(*secrets: str) -> None:
    empty = [number for number, secret in enumerate(secrets) if not secret]
    if empty or not secrets:
        raise SystemExit(f"secrets number {empty or 'none'} are empty, and an empty text is everywhere")
    print(json.dumps(leaks(secrets)))
