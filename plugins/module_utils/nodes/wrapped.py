# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`celery multi` wrapped by one systemd unit, celery-FLEET-workers.service.

A node started from an Ansible session would belong to that session: outside the unit's limits and sandbox,
and gone or orphaned with it. So the unit starts its nodes itself. When it is down it is started as a whole;
else it is reloaded, and its ExecReload starts the nodes which a request file names. It must contain:

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=<opt>/bin/celery-multi start          all nodes, side by side
    ExecReload=/bin/sh -c 'exec <opt>/bin/celery-multi start $$(cat <run>/start.request)'
    ExecStop=<opt>/bin/celery-multi stopwait        all nodes
    KillMode=mixed
    TimeoutStartSec=, TimeoutStopSec=   the longest start_timeout and stop_timeout of the nodes
    RuntimeDirectoryPreserve=yes        where it has RuntimeDirectory=: pidfiles must outlive a stop

Stopping a single node needs no help: a signal reaches a process in any control group.
"""

from __future__ import annotations

import os
import pwd
from typing import Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Launch
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import systemctl
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.launchers import Launcher
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Outcome, Step
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitfiles import links_to, text_of
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitstate import (
    NOT_ENABLED,
    describe,
)


def unit_name(fleet: str) -> str:
    return f"celery-{fleet}-workers.service"


class Wrapped(Launcher):
    """Starts nodes inside the wrapping unit."""

    def __init__(self, fleet: str, opt_dir: str, run_dir: str, user: str | None) -> None:
        self.unit = unit_name(fleet)
        self.command = os.path.join(opt_dir, "bin", "celery-multi")
        self.request = os.path.join(run_dir, "start.request")
        self.user = user
        self._current: Launch | None = None

    def launch(self, steps: Sequence[Step]) -> list[tuple[Sequence[Step], Launch]]:
        # One at a time: a reload asked for during a reload is merged into it and would miss our request.
        if self._current is not None and self._current.rc is None:
            return []
        verb = "start"
        if _show(self.unit).get("ActiveState") in ("active", "reloading"):
            verb = "reload"
            self._write_request([step.name for step in steps])
        self._current = Launch(["systemctl", "--no-ask-password", verb, "--", self.unit])
        return [(steps, self._current)]

    def finish(self) -> None:
        if os.path.exists(self.request):
            os.unlink(self.request)

    def _write_request(self, nodes: Sequence[str]) -> None:
        with open(f"{self.request}.new", "w", encoding="ascii") as stream:
            stream.write("".join(f"{node}\n" for node in nodes))
        os.chmod(f"{self.request}.new", 0o640)
        if self.user and os.geteuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.chown(f"{self.request}.new", entry.pw_uid, entry.pw_gid)
        os.replace(f"{self.request}.new", self.request)


class WrappingUnit:
    """The unit itself: enabled while it has nodes, gone when it has none."""

    def __init__(self, fleet: str, opt_dir: str, unit_dir: str) -> None:
        self.unit = unit_name(fleet)
        self.opt_dir = opt_dir
        self.path = os.path.join(unit_dir, self.unit)
        self.unit_dir = unit_dir
        self.shown: Mapping[str, str] = {}

    def change(self, wanted: bool) -> str:
        """What becomes of it: "enabled", "removed", or "" when it is as it should be."""
        self.shown = _show(self.unit)
        if not wanted:
            return "removed" if self._is_ours() else ""
        is_new = self.shown.get("LoadState") != "loaded"
        return "enabled" if is_new or self.shown.get("UnitFileState") in NOT_ENABLED else ""

    def describe(self) -> str:
        if self.shown.get("LoadState") != "loaded":
            return "absent"
        return f"{self.shown.get('ActiveState')}, {self.shown.get('UnitFileState')}"

    def ensure(self) -> Outcome:
        outcome = Outcome()
        if self.shown.get("NeedDaemonReload") == "yes" or self.shown.get("LoadState") != "loaded":
            systemctl.call("daemon-reload")
            outcome.reloaded = True
            self.shown = _show(self.unit)
        if self.shown.get("LoadState") != "loaded":
            outcome.failures.append(f"{self.unit}: {describe(self.shown)}. Expected at {self.path}.")
        elif self.shown.get("UnitFileState") in NOT_ENABLED:
            result = systemctl.call("enable", "--", self.unit)
            if result.rc != 0:
                outcome.failures.append(f"systemd could not enable {self.unit}: {result.text}")
            outcome.other.append(f"{self.unit} enabled")
        return outcome

    def remove(self) -> Outcome:
        outcome = Outcome(reloaded=True, other=[f"{self.unit} removed"])
        stopped = systemctl.call("stop", "--", self.unit)
        if _show(self.unit).get("ActiveState") not in ("inactive", "failed"):
            outcome.failures.append(f"{self.unit} has not stopped: {stopped.text}")
            return outcome
        for path in [self.path, *links_to(self.unit_dir, self.unit)]:
            if os.path.lexists(path):
                os.unlink(path)
        systemctl.call("daemon-reload")
        return outcome

    def _is_ours(self) -> bool:
        """A second installation of the same name, under a prefix of its own, does not touch this unit."""
        return self.opt_dir in text_of(self.path)


def _show(unit: str) -> Mapping[str, str]:
    return systemctl.show([unit]).get(unit, {"LoadState": "not-found"})
