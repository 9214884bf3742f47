# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a folder of unit files."""

from __future__ import annotations

import glob
import os
import re

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import UNIT


def is_mask(path: str) -> bool:
    return os.path.islink(path) and os.path.realpath(path) == "/dev/null"


def links_to(unit_dir: str, unit: str) -> list[str]:
    """The links by which other units want this one."""
    return [
        path
        for kind in ("wants", "requires")
        for path in sorted(glob.glob(os.path.join(unit_dir, f"*.{kind}", unit)))
    ]


def text_of(path: str) -> str:
    """Empty when the file cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def declared(path: str) -> str | None:
    """The digest by which a unit file's processes show that they were started from it; None without one."""
    found = re.search(rf"^Environment={UNIT}=(\S+)$", text_of(path), re.MULTILINE)
    return found.group(1) if found else None
