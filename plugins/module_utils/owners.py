# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at processes as their owner.

Root without CAP_SYS_PTRACE, as in an ordinary container, is refused what the owner may see.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable

PROC = "/proc"


def owner_of(pid: int) -> tuple[int, int]:
    """User and group of a process; root's where there is no such process."""
    try:
        found = os.stat(f"{PROC}/{pid}")
    except OSError:
        return (0, 0)
    return (found.st_uid, found.st_gid)


def look_as(owner: tuple[int, int], look: Callable[[], dict[Any, Any]]) -> dict[str, Any]:
    """What `look` finds in a child that has become this user and group: the kernel compares both.

    The answer crosses as JSON, so its keys are text. Empty for root, who has looked already.
    """
    uid, gid = owner
    if uid == 0:
        return {}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            with os.fdopen(writer, "w") as stream:
                json.dump(look(), stream)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {}
