# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `systemctl show` says of a unit, and what it means. Pure functions."""

from __future__ import annotations

from typing import Mapping

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import reconcile

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "ExecMainCode",
    "ExecMainStatus",
    "NRestarts",
)

# A unit which systemd has tried this often in vain since we started it will not come up by waiting.
HOPELESS_RESTARTS = 3

# Will not come up at boot. A unit without [Install] is "static": it cannot be enabled and is left alone.
NOT_ENABLED = ("disabled", "linked", "enabled-runtime")

# systemd's own exit codes for what it could not even begin (systemd.exec(5)); none heals by waiting.
_CANNOT_BEGIN = {
    "200": "the working directory does not exist or may not be entered: check WorkingDirectory",
    "203": "the program could not be executed: the release's virtualenv is missing or not readable",
    "216": "the group does not exist",
    "217": "the user does not exist",
    "218": "a capability could not be set",
    "219": "the control group could not be set up",
    "226": "a sandboxing setting failed on this host: look at the Protect*, Private* and *Paths lines",
    "233": "the run-time directory could not be made",
    "238": "the state directory could not be made",
    "240": "the log directory could not be made",
}

_RESULT_HINTS = {
    "timeout": "it was not ready within TimeoutStartSec: raise start_timeout if the application loads slowly",
    "watchdog": "its event loop stood still for longer than WatchdogSec",
    "oom-kill": "it ran out of memory: raise the pool's memory limit or lower its concurrency",
    "protocol": "it ended or detached before it was ready: the unit must run it in the foreground",
    "start-limit-hit": "it was started too often: `systemctl reset-failed` and look at the lines below",
    "resources": "systemd lacked something to start it, often a missing EnvironmentFile",
}


def parse_show(text: str) -> dict[str, dict[str, str]]:
    """Units by name from `systemctl show`, which parts them by an empty line."""
    units: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines() if "=" in line)
        properties = {key: value for key, _sep, value in pairs}
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units


def state_of(unit: Mapping[str, str]) -> str:
    """A unit's state in the words of reconcile."""
    active, sub = unit.get("ActiveState", "inactive"), unit.get("SubState", "")
    if active in ("active", "reloading", "refreshing"):
        return reconcile.RUNNING
    if active == "activating":
        return reconcile.FAILED if sub.startswith("auto-restart") else reconcile.STARTING
    if active == "deactivating":
        return reconcile.STOPPING
    return reconcile.FAILED if active == "failed" else reconcile.STOPPED


def describe(unit: Mapping[str, str]) -> str:
    """A unit's state for an error: what systemd says, and what it means where that is known."""
    if unit.get("LoadState") == "not-found":
        return "there is no such unit: its file was not rendered before this step"
    if unit.get("LoadState") not in ("loaded", None, ""):
        return (
            f"systemd cannot use its unit file (LoadState={unit.get('LoadState')}); "
            f"`systemd-analyze verify {unit.get('Id')}` says why"
        )
    words = [f"{unit.get('ActiveState')} ({unit.get('SubState')})"]
    status = unit.get("ExecMainStatus", "0")
    if unit.get("Result") not in ("success", None, ""):
        words.append(f"Result={unit['Result']}")
    if status != "0":
        words.append(f"ExecMainStatus={status}")
    if unit.get("NRestarts", "0") not in ("0", ""):
        words.append(f"{unit['NRestarts']} restarts")
    text = ", ".join(words)
    hint = _CANNOT_BEGIN.get(status) or _RESULT_HINTS.get(unit.get("Result", ""))
    return f"{text}; {hint}" if hint else text


def is_hopeless(unit: Mapping[str, str], restarts_before: int) -> bool:
    """Whether waiting longer for this unit is of no use."""
    if unit.get("LoadState") != "loaded" or unit.get("ActiveState") == "failed":
        return True
    if state_of(unit) != reconcile.FAILED:
        return False
    if unit.get("ExecMainStatus") in _CANNOT_BEGIN:
        return True
    return number(unit.get("NRestarts")) - restarts_before >= HOPELESS_RESTARTS


def number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
