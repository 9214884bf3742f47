# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes as systemd units: one unit for each node, `celery-FLEET-worker@NODE.service`.

The unit files themselves are rendered by the roles before this runs. Here they are enabled, started,
restarted and, when their node has left the list, stopped and removed.
"""

from __future__ import annotations

import glob
import os
import time
from typing import Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes, reconcile, systemctl
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.nodefiles import (
    env_file_names,
    node_files,
    remove_files,
    unit_name,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import (
    Manager,
    Observed,
    Outcome,
    Step,
    Wanted,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitfiles import (
    declared,
    is_mask,
    links_to,
    text_of,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitjobs import UnitJobs
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitstate import (
    NOT_ENABLED,
    describe,
    number,
    state_of,
)

# What a process may take from its fork to its exec, on a busy host.
EXEC_SECONDS = 3.0


def is_running() -> bool:
    """Whether systemd is this host's service manager (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


class Systemd(Manager):
    """This host's nodes of one kind under systemd."""

    name = "systemd"

    def __init__(
        self,
        fleet: str,
        kind: str,
        etc_dir: str,
        log_dir: str,
        run_dir: str,
        unit_dir: str = "/etc/systemd/system",
        leftovers: Sequence[str] = (),
        leaving: bool = False,
    ) -> None:
        """leaving: all nodes move to `celery multi`, so what they share with it (environment files) stays,
        and units of another installation which has the same name are not touched.
        """
        self.fleet = fleet
        self.kind = kind
        self.etc_dir = etc_dir
        self.log_dir = log_dir
        self.run_dir = run_dir
        self.unit_dir = unit_dir
        self.leftovers = tuple(leftovers)
        self.leaving = leaving
        self.units: dict[str, dict[str, str]] = {}

    # names

    def unit(self, node: str) -> str:
        return unit_name(self.fleet, self.kind, node)

    def node(self, unit: str) -> str:
        if self.kind == "worker":
            return unit.partition("@")[2][: -len(".service")]
        return self.kind

    @property
    def pattern(self) -> str:
        return self.unit("*")

    @property
    def target(self) -> str:
        return f"celery-{self.fleet}.target"

    # observing

    def observe(self, wanted: Sequence[Wanted]) -> list[Observed]:
        listed = {self.unit(node.name) for node in wanted}
        listed.update(os.path.basename(path) for path in glob.glob(os.path.join(self.unit_dir, self.pattern)))
        listed.update(self.unit(name) for name in self._env_file_names())
        self.units = systemctl.show([*sorted(listed), self.pattern, self.target])
        units = {unit: one for unit, one in self.units.items() if unit != self.target}
        pids = {unit: number(one.get("MainPID")) for unit, one in units.items()}
        found = self._read_settled(units, pids)
        observed = []
        for unit, one in sorted(units.items()):
            node, pid = self.node(unit), pids[unit]
            process = found.get(pid)
            if self.leaving and not self._is_ours(unit, process):
                continue
            if process is not None and process.environ is None:
                raise processes.ProcessError(
                    f"the environment of {unit}'s process {pid} may not be read, so its fingerprint is not "
                    f"known. Run the play as root (become) on this host."
                )
            traces = self._traces(node)
            if process is None and not traces and one.get("LoadState") in ("not-found", "masked"):
                continue
            observed.append(
                Observed(
                    name=node,
                    pid=pid if process else 0,
                    fingerprint=process.get(processes.FINGERPRINT) if process else None,
                    state=state_of(one),
                    enabled=one.get("UnitFileState") not in NOT_ENABLED,
                    detail=describe(one) if state_of(one) == reconcile.FAILED else "",
                    traces=traces,
                    outdated=process is not None and self._is_outdated(unit, process),
                )
            )
        return observed

    def _read_settled(
        self, units: Mapping[str, Mapping[str, str]], pids: Mapping[str, int]
    ) -> dict[int, processes.Process]:
        """The units' processes. One that is between fork and exec still has systemd's own environment."""
        until = time.monotonic() + EXEC_SECONDS
        while True:
            found = processes.read_many(pid for pid in pids.values() if pid)
            young = [
                pid
                for unit, pid in pids.items()
                if pid in found
                and state_of(units[unit]) == reconcile.STARTING
                and not found[pid].get(processes.FINGERPRINT)
            ]
            if not young or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def _is_outdated(self, unit: str, process: processes.Process) -> bool:
        """Whether systemd has started a process from another unit file than is there now.

        It reads environment files at each start, so that a node which died between a deploy's files and its
        daemon-reload came back with the new fingerprint, but with the old command line.
        """
        started = process.get(processes.UNIT)
        return bool(started) and started != declared(os.path.join(self.unit_dir, unit))

    def _is_ours(self, unit: str, process: processes.Process | None) -> bool:
        if process is not None and process.get(processes.RUN_DIR):
            return processes.belongs(process, self.fleet, self.run_dir)
        return self.etc_dir in text_of(os.path.join(self.unit_dir, unit))

    def _traces(self, node: str) -> tuple[str, ...]:
        """Files of a node which go when it goes. A masked unit's file is none of them."""
        unit = self.unit(node)
        unit_file = os.path.join(self.unit_dir, unit)
        found = [] if is_mask(unit_file) else [unit_file, f"{unit_file}.d"]
        found += links_to(self.unit_dir, unit)
        if not self.leaving:
            found += node_files(self.etc_dir, self.kind, node, self.leftovers)
        return tuple(path for path in found if os.path.lexists(path))

    def _env_file_names(self) -> list[str]:
        if self.kind != "worker":
            return [self.kind]
        return [] if self.leaving else env_file_names(self.etc_dir)

    def _env_file(self, node: str) -> str:
        return node_files(self.etc_dir, self.kind, node)[0]

    # acting

    def obstacles(self, steps: Sequence[Step]) -> list[str]:
        found = []
        for step in steps:
            unit = self.unit(step.name)
            path = os.path.join(self.unit_dir, unit)
            is_loaded = self.units.get(unit, {}).get("LoadState") == "loaded"
            if step.wanted is not None and not is_loaded and not os.path.exists(path):
                found.append(f"{path} does not exist, so {step.name} cannot be started. Render it first.")
        return found

    def apply(self, steps: Sequence[Step]) -> Outcome:
        outcome = Outcome()
        leaving = [step for step in steps if step.action == reconcile.REMOVE]
        loaded = [self.unit(step.name) for step in leaving if self._is_known(step)]
        if loaded:
            # They finish their tasks while the others come up.
            systemctl.call("stop", "--no-block", "--", *loaded)
        wanted = [step for step in steps if step.action != reconcile.REMOVE and step.wanted is not None]
        if wanted:
            self._bring_up(wanted, outcome)
        self._remove(leaving, outcome)
        return outcome

    def _bring_up(self, steps: Sequence[Step], outcome: Outcome) -> None:
        units = [self.unit(step.name) for step in steps]
        if any(self._needs_reload(unit) for unit in units):
            self._reload()
            outcome.reloaded = True
            self.units.update(systemctl.show([*units, self.target]))
        masked = [unit for unit in units if self.units.get(unit, {}).get("LoadState") == "masked"]
        if masked:
            systemctl.call("unmask", "--", *masked)
            systemctl.call("unmask", "--runtime", "--", *masked)
            self._reload()
            self.units.update(systemctl.show(units))
        usable = [step for step in steps if self._is_usable(self.unit(step.name), outcome)]
        self._enable(usable, outcome)
        start = [step for step in usable if step.action == reconcile.START]
        restart = [step for step in usable if step.action == reconcile.RESTART]
        unready = [step for step in usable if step.action == reconcile.KEEP and _is_starting(step)]
        jobs = UnitJobs(self.unit, self._env_file, self.log_dir, self.units)
        jobs.run(start, restart, unready, outcome)

    def _is_usable(self, unit: str, outcome: Outcome) -> bool:
        one = self.units.get(unit, {"LoadState": "not-found"})
        if one.get("LoadState") == "loaded":
            return True
        outcome.failures.append(f"{unit}: {describe(one)}. Expected in {self.unit_dir}.")
        return False

    def _enable(self, steps: Sequence[Step], outcome: Outcome) -> None:
        """Enable what is not, and start the target without its members: they are started one by one."""
        units = [
            self.unit(step.name)
            for step in steps
            if self.units[self.unit(step.name)].get("UnitFileState") in NOT_ENABLED
        ]
        amiss = bool(steps) and self.target_is_amiss()
        if amiss and self.units[self.target].get("UnitFileState") in NOT_ENABLED:
            units.append(self.target)
        if units:
            result = systemctl.call("enable", "--", *units)
            if result.rc != 0:
                outcome.failures.append(f"systemd could not enable {', '.join(units)}: {result.text}")
        outcome.enabled += [step.name for step in steps if step.enable]
        if amiss:
            systemctl.call("start", "--job-mode=ignore-dependencies", "--", self.target, timeout=60)
            outcome.other.append(self.target)

    def target_is_amiss(self) -> bool:
        """Whether the fleet's target, where there is one, would not come up at boot or is not up now."""
        target = self.units.get(self.target, {})
        if target.get("LoadState") != "loaded":
            return False
        return target.get("UnitFileState") in NOT_ENABLED or target.get("ActiveState") != "active"

    # removing

    def _is_known(self, step: Step) -> bool:
        return self.units.get(self.unit(step.name), {}).get("LoadState") not in ("not-found", None)

    def _remove(self, steps: Sequence[Step], outcome: Outcome) -> None:
        if not steps:
            return
        units = {self.unit(step.name): step for step in steps}
        # Gracefully and without a time-out of ours: TimeoutStopSec in the unit governs.
        loaded = [unit for unit, step in units.items() if self._is_known(step)]
        stopped = systemctl.call("stop", "--", *loaded) if loaded else Result(0, "", "")
        after = systemctl.show(list(units))
        for unit, step in units.items():
            state = after.get(unit, {})
            if number(state.get("MainPID")) or state.get("ActiveState") in ("active", "deactivating"):
                outcome.failures.append(f"{unit} has not stopped: {describe(state)}. {stopped.text}")
                continue
            if state.get("Result") in ("timeout", "signal", "core-dump") and step.running:
                outcome.warnings.append(
                    f"{unit} was killed while it stopped (Result={state['Result']}): tasks it was running "
                    f"are redelivered only if they are acknowledged late. Raise the pool's stop_timeout."
                )
            remove_files(step)
            outcome.removed.append(step.name)
            if step.running:
                outcome.stopped.append(step.name)
        failed = [unit for unit, state in after.items() if state.get("ActiveState") == "failed"]
        if failed:
            systemctl.call("reset-failed", "--", *failed)
        self._reload()
        outcome.reloaded = True

    # systemctl

    def _needs_reload(self, unit: str) -> bool:
        one = self.units.get(unit, {})
        if one.get("NeedDaemonReload") == "yes":
            return True
        return one.get("LoadState") != "loaded" and os.path.lexists(os.path.join(self.unit_dir, unit))

    def _reload(self) -> None:
        systemctl.call("daemon-reload", timeout=120)


def _is_starting(step: Step) -> bool:
    return any(one.state == reconcile.STARTING for one in step.observed)
