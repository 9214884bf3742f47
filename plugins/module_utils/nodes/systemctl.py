# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemctl and journalctl."""

from __future__ import annotations

from typing import Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result, run
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import ProcessError
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitstate import PROPERTIES, parse_show


def call(*arguments: str, timeout: float | None = None) -> Result:
    return run(["systemctl", "--no-ask-password", *arguments], timeout=timeout)


def show(units: Sequence[str]) -> dict[str, dict[str, str]]:
    """Units by name; patterns are allowed."""
    # --all: a unit that was never loaded is shown as not-found instead of being passed over.
    result = call("show", "--all", f"--property={','.join(PROPERTIES)}", "--", *units, timeout=60)
    if result.rc != 0:
        raise ProcessError(f"systemd does not answer: {result.text}")
    return parse_show(result.out)


def journal(unit: str, since: int) -> str:
    """The last lines of a unit from a moment on, in seconds since the epoch."""
    command = ["journalctl", "-u", unit, "-n", "30", "--no-pager", "-o", "cat", f"--since=@{since}"]
    return run(command, timeout=30).out.strip()
