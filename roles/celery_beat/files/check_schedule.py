"""Move a schedule that cannot be read aside, so that beat starts with a fresh one.

    check_schedule.py FILE [COMMAND ...]

Celery itself discards a file that does not open. One that opens and holds something else than a schedule (the
disk was full, the host lost power, a class is gone) ends beat with every start. What is lost is when each
task ran last: an interval begins anew, a crontab waits for its next time. COMMAND takes this process' place.
"""

from __future__ import annotations

import errno
import os
import shelve
import sys

# What the kinds of dbm append to the name, as celery.beat knows them.
SUFFIXES = ("", ".db", ".dat", ".bak", ".dir")

# Somebody else has the file open, or it may not be read: that is no damage, and beat itself will say so.
NO_DAMAGE = (errno.EAGAIN, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)


def damage(path: str) -> str:
    """Why the schedule cannot be read; empty when it can, or when there is none."""
    if not existing(path):
        return ""
    try:
        with shelve.open(path, flag="r") as schedule:
            for key in schedule:
                schedule[key]
    except OSError as error:
        return "" if error.errno in NO_DAMAGE else repr(error)
    except Exception as error:
        return repr(error)
    return ""


def existing(path: str) -> list[str]:
    return [suffix for suffix in SUFFIXES if os.path.exists(path + suffix)]


def move_aside(path: str) -> None:
    """Keep one unreadable schedule, the last."""
    for suffix in existing(path):
        os.replace(path + suffix, f"{path}.unreadable{suffix}")


def main(path: str, command: list[str]) -> None:
    # The application may have classes of its own in there.
    sys.path.insert(0, os.getcwd())
    reason = damage(path)
    if reason:
        move_aside(path)
        print(f"{path} cannot be read and was moved to {path}.unreadable: {reason}", file=sys.stderr)
    if command:
        sys.stderr.flush()
        os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
