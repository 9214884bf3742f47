# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something failed for want of room, and where. A full disk shows in many disguises."""

from __future__ import annotations

import errno
import os
import re
import typing as t

# With less than this left, whatever has failed has failed for it.
FULL_BYTES = 256 * 1024
FULL_INODES = 8

_SAID = re.compile(
    "|".join(
        # In the system's own words, and in those of installers which give its number.
        [re.escape(os.strerror(number)) for number in (errno.ENOSPC, errno.EDQUOT)]
        + [rf"\[Errno {errno.ENOSPC}\]", rf"os error {errno.ENOSPC}\b"]
    )
)


class Room(t.NamedTuple):
    """What is left for an ordinary file below a folder. None where the filesystem does not count inodes."""

    folder: str
    free: int
    inodes: int | None

    @property
    def is_full(self) -> bool:
        return self.free < FULL_BYTES or (self.inodes is not None and self.inodes < FULL_INODES)

    def __str__(self) -> str:
        inodes = "" if self.inodes is None else f" and {self.inodes} inodes"
        return f"{self.folder} has {self.free} bytes{inodes} left"


def look(folder: str) -> Room:
    """Of a folder, or of the nearest above it that exists."""
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    found = os.statvfs(folder)
    return Room(folder, found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def shortage(error: BaseException, folders: t.Iterable[str]) -> str:
    """Say where there was no room, when that is why something failed; empty when it is not.

    To be asked before anything is tidied up. folders: where it has written.
    """
    rooms = {look(folder): None for folder in folders if folder}
    full = [room for room in rooms if room.is_full]
    is_said = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _SAID.search(str(error))
    if not full and not is_said:
        return ""
    return "The disk is full: " + ", ".join(map(str, full or rooms))
