# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time looks after a fleet's nodes on a host.

When ansible-playbook is killed or loses a host, what it had begun there goes on without it: a module that
nobody listens to any more stops and starts nodes. A second run beside it would take a node that is on its way
for one that is wrong, and restart it again. So it waits, and then finds the work done.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import Iterator

NAME = "nodes.lock"

# How often the lock is tried; the work of the other run takes seconds.
TRY_SECONDS = 0.2

# Shorter waits are not worth a warning.
SHORT_SECONDS = 1.0


class LockedError(Exception):
    """Another run has not ended in time; the text names it."""


@contextlib.contextmanager
def held(run_dir: str, doing: str, patience: float) -> Iterator[str]:
    """Hold the fleet's nodes on this host. Gives a warning when that took long, else an empty text.

    patience: the seconds which another run may still take. What a run starts does not inherit its lock.
    Without a run directory nothing runs that could be in the way.
    """
    if not os.path.isdir(run_dir):
        yield ""
        return
    path = os.path.join(run_dir, NAME)
    # The folder is the service user's own, who must not lead root to another file.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        warning = _take(handle, path, patience)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} ({doing}) since {_now()}\n".encode(), 0)
        yield warning
    finally:
        os.close(handle)


def _take(handle: int, path: str, patience: float) -> str:
    began = time.monotonic()
    other = ""
    while not _try(handle):
        other = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
        if time.monotonic() - began > patience:
            raise LockedError(
                f"{other} still looks after this fleet's nodes on this host and holds {path}: "
                f"waited {patience:.0f} s for it. It belongs to another run of the play, or was left by one "
                f"that was interrupted, and ends by itself when its nodes have stopped and started. "
                f"Run the play again then, or end that process first; no task is lost by that."
            )
        time.sleep(TRY_SECONDS)
    waited = time.monotonic() - began
    if waited < SHORT_SECONDS:
        return ""
    return f"waited {waited:.0f} s for {other}, which another run of the play had begun on this host."


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
