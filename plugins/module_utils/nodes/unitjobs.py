# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units on their way up: started and restarted together, each waited for as long as it may take."""

from __future__ import annotations

import os
import time
from typing import Callable, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result, tail
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import (
    explain,
    processes,
    reconcile,
    systemctl,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Outcome, Step, Wanted
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitstate import (
    describe,
    is_hopeless,
    number,
    state_of,
)


class UnitJobs:
    """One round of starts and restarts."""

    def __init__(
        self,
        unit: Callable[[str], str],
        env_file: Callable[[str], str],
        log_dir: str,
        units: dict[str, dict[str, str]],
    ) -> None:
        """unit, env_file: those of a node. units: what systemd showed of them; kept up to date."""
        self.unit = unit
        self.env_file = env_file
        self.log_dir = log_dir
        self.units = units
        self.began = int(time.time())
        self.said: dict[str, str] = {}

    def run(
        self, start: Sequence[Step], restart: Sequence[Step], unready: Sequence[Step], outcome: Outcome
    ) -> None:
        """One call for all: systemd starts the units in parallel and a call returns when they are ready."""
        began = time.monotonic()
        restarts = {
            unit: number(self.units.get(unit, {}).get("NRestarts"))
            for unit in (self.unit(step.name) for step in [*start, *restart, *unready])
        }
        failed = [self.unit(step.name) for step in start if _was_failed(step)]
        if failed:
            systemctl.call("reset-failed", "--", *failed)
            restarts.update(dict.fromkeys(failed, 0))
        if start or unready:
            self._job("start", [*start, *unready], _start_timeout([*start, *unready]))
        if restart:
            stopping = max(step.wanted.stop_timeout for step in restart if step.wanted)
            self._job("restart", restart, stopping + _start_timeout(restart))
            began = time.monotonic()
        for step in self._await([*start, *restart, *unready], restarts, began, outcome):
            if step in start:
                outcome.started.append(step.name)
            elif step in restart:
                outcome.restarted.append(step.name)

    def _job(self, verb: str, steps: Sequence[Step], timeout: float) -> Result:
        # Ten seconds more than systemd itself may take, so that it is systemd which gives up first.
        units = [self.unit(step.name) for step in steps]
        result = systemctl.call(verb, "--", *units, timeout=timeout + 10)
        self.said.update(dict.fromkeys(units, "" if result.rc == 0 else result.text))
        return result

    def _await(
        self, steps: Sequence[Step], restarts: Mapping[str, int], began: float, outcome: Outcome
    ) -> list[Step]:
        """Those which are active with the wanted fingerprint; the others become failures."""
        waiting, ready = list(steps), []
        while waiting:
            self.units.update(systemctl.show([self.unit(step.name) for step in waiting]))
            late = []
            for step in waiting:
                unit = self.units[self.unit(step.name)]
                if state_of(unit) == reconcile.RUNNING:
                    problem = self._wrong_fingerprint(step, unit)
                    if problem:
                        outcome.failures.append(problem)
                    else:
                        ready.append(step)
                elif (
                    self._was_refused(unit)
                    or is_hopeless(unit, restarts.get(unit["Id"], 0))
                    or self._is_late(step, began)
                ):
                    outcome.failures.append(self._why(step, unit))
                else:
                    late.append(step)
            waiting = late
            if waiting:
                time.sleep(0.5)
        return ready

    def _was_refused(self, unit: Mapping[str, str]) -> bool:
        """systemctl has failed and the unit has not even tried, as for a user who may not start it."""
        return bool(self.said.get(unit["Id"])) and state_of(unit) == reconcile.STOPPED

    @staticmethod
    def _is_late(step: Step, began: float) -> bool:
        return step.wanted is None or time.monotonic() - began > step.wanted.start_timeout

    def _wrong_fingerprint(self, step: Step, unit: Mapping[str, str]) -> str:
        wanted = step.wanted.fingerprint if step.wanted else ""
        process = processes.read(number(unit.get("MainPID")))
        carried = process.get(processes.FINGERPRINT) if process else None
        if carried == wanted:
            return ""
        return explain.wrong_fingerprint(unit["Id"], carried, wanted, self.env_file(step.name)) + "."

    def _why(self, step: Step, unit: Mapping[str, str]) -> str:
        name = unit["Id"]
        log = os.path.join(self.log_dir, f"{step.name}.log")
        logged = tail(log)
        said = {"systemctl said": self.said[name]} if self._was_refused(unit) else {}
        said["Last lines of its journal"] = systemctl.journal(name, self.began)
        if logged:
            said[f"Last lines of {log}"] = logged
        return explain.not_ready(name, f": {describe(unit)}", said, f"; `systemctl status {name}` shows more")


def _was_failed(step: Step) -> bool:
    return any(one.state == reconcile.FAILED for one in step.observed)


def _start_timeout(steps: Sequence[Step]) -> int:
    return max(
        (step.wanted.start_timeout for step in steps if step.wanted), default=Wanted("", "").start_timeout
    )
