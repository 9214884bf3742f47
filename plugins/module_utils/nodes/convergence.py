# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One convergence of a host's nodes: observe, plan, act, report. What celery_nodes does, without Ansible."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.listening import wait
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import (
    processes,
    reconcile,
    records,
    systemd,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.launchers import (
    CeleryMulti,
    Detached,
    Launcher,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.multi import Multi
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import (
    Manager,
    Observed,
    Outcome,
    Step,
    Wanted,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.systemd import Systemd
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.wrapped import Wrapped, WrappingUnit


@dataclass(frozen=True)
class Layout:
    """Where a fleet's processes, files and commands are on this host."""

    fleet: str
    kind: str
    manager: str
    opt_dir: str
    etc_dir: str
    run_dir: str
    log_dir: str
    wrapped: bool = False
    unit_dir: str = "/etc/systemd/system"
    python: str | None = None
    user: str | None = None
    status_command: Sequence[str] | None = None
    leftovers: Sequence[str] = ()
    stop_timeout: int = 600

    @classmethod
    def names(cls) -> list[str]:
        return [one.name for one in fields(cls)]

    @property
    def by_units(self) -> bool:
        """Beat and Flower have units of their own where systemd wraps the workers' `celery multi`."""
        return self.manager == "systemd" or (self.wrapped and self.kind != "worker")

    @property
    def is_wrapped(self) -> bool:
        return self.manager == "multi" and self.wrapped and self.kind == "worker"


def status_command(
    opt_dir: str, etc_dir: str | None, python: str | None, given: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The command that prints the records, and the environment files it needs."""
    if given:
        return list(given), []
    if python and etc_dir:
        return [python, "-m", "celeryops", "status", "--json"], [os.path.join(etc_dir, "environment")]
    return [os.path.join(opt_dir, "bin", "run"), "python", "-m", "celeryops", "status", "--json"], []


class Convergence:
    """observe(), then act() unless only a prediction is asked for, then result()."""

    def __init__(self, layout: Layout, wanted: Sequence[Wanted], absent: bool = False) -> None:
        self.layout = layout
        self.wanted = [] if absent else list(wanted)
        self.steps: list[Step] = []
        self.leaving_steps: list[Step] = []
        self.outcome = Outcome()
        self._acted = False
        self._has_tried = False
        self._unit_change = ""
        self._manager: Manager = self._systemd() if layout.by_units else self._multi()
        self._leaving: Manager | None = None
        self._unit: WrappingUnit | None = None

    @property
    def patience(self) -> int:
        """The seconds that an interrupted run with the same nodes may still need for them."""
        stop = max([self.layout.stop_timeout, *(node.stop_timeout for node in self.wanted)])
        return stop + max((node.start_timeout for node in self.wanted), default=0)

    def observe(self) -> None:
        processes.require_proc()
        booted = systemd.is_running()
        if not booted and (self.layout.by_units or self.layout.is_wrapped):
            raise processes.ProcessError(
                "systemd is not this host's service manager, so its units cannot be managed. "
                "Set celery_service_manager to multi for this host."
            )
        if self.layout.by_units:
            self._leaving = self._multi(leaving=True)
        elif booted:
            self._leaving = self._systemd(leaving=True)
        if booted and self.layout.kind == "worker":
            self._unit = WrappingUnit(self.layout.fleet, self.layout.opt_dir, self.layout.unit_dir)
            self._unit_change = self._unit.change(self.layout.is_wrapped and bool(self.wanted))
        if (
            not self.layout.by_units
            and self.layout.kind != "worker"
            and self.wanted
            and not self.layout.python
        ):
            raise ValueError(
                f"python is missing: {self.layout.kind} is detached by the runtime, which needs it"
            )
        self.steps = reconcile.plan(self.wanted, self._manager.observe(self.wanted))
        if self._leaving is not None:
            self.leaving_steps = reconcile.plan([], self._leaving.observe([]))
        self.outcome = self._prediction()

    def act(self) -> None:
        self._acted = True
        self.outcome = Outcome(failures=self._manager.obstacles(self.steps))
        if self.outcome.failures:
            return
        self._has_tried = True
        if self._unit is not None and self.layout.is_wrapped and self.wanted:
            self.outcome.add(self._unit.ensure())
            if self.outcome.failures:
                return
        if self._leaving is not None and self.leaving_steps:
            self.outcome.add(self._leaving.apply(self.leaving_steps))
            if self.outcome.failures:
                return
        self.outcome.add(self._manager.apply(self.steps))
        if self.outcome.failures:
            return
        if self._unit is not None and self._unit_change == "removed":
            self.outcome.add(self._unit.remove())
        self._await_listeners()

    def result(self) -> dict[str, Any]:
        self.outcome.join_moves()
        return {
            "changed": self.outcome.changed or self._has_failed_trying(),
            **self.outcome.lists(),
            "nodes": self._nodes(),
            "reasons": self._reasons(),
            "reloaded": self.outcome.reloaded,
            "diff": self._difference(),
        }

    # parts

    def _reasons(self) -> dict[str, str]:
        reasons = {step.name: step.reason for step in [*self.leaving_steps, *self.steps] if step.reason}
        if self._leaving is not None:
            moving = {step.name for step in self.leaving_steps}.intersection(
                node.name for node in self.wanted
            )
            reasons.update(dict.fromkeys(moving, f"runs under {self._leaving.name} so far"))
        return reasons

    def _has_failed_trying(self) -> bool:
        """A start that failed has changed the host too."""
        steps = [*self.leaving_steps, *self.steps]
        return self._has_tried and bool(self.outcome.failures) and any(one.changes for one in steps)

    def _systemd(self, leaving: bool = False) -> Systemd:
        one = self.layout
        return Systemd(
            one.fleet,
            one.kind,
            one.etc_dir,
            one.log_dir,
            one.run_dir,
            one.unit_dir,
            one.leftovers,
            leaving,
        )

    def _multi(self, leaving: bool = False) -> Multi:
        one = self.layout
        launcher: Launcher
        inside = ""
        if one.is_wrapped:
            launcher = wrapped = Wrapped(one.fleet, one.opt_dir, one.run_dir, one.user)
            inside = wrapped.unit
        elif one.kind == "worker":
            launcher = CeleryMulti(one.opt_dir)
        else:
            launcher = Detached(one.python or "python3", one.run_dir, one.log_dir, one.user)
        return Multi(
            fleet=one.fleet,
            kind=one.kind,
            etc_dir=one.etc_dir,
            run_dir=one.run_dir,
            log_dir=one.log_dir,
            launcher=launcher,
            status=self._read_status,
            leftovers=one.leftovers,
            inside=inside,
            stop_timeout=one.stop_timeout,
            leaving=leaving,
        )

    def _read_status(self) -> Mapping[str, Any]:
        one = self.layout
        command, env_files = status_command(one.opt_dir, one.etc_dir, one.python, one.status_command)
        return records.read(command, env_files, one.user)

    def _prediction(self) -> Outcome:
        outcome = Outcome()
        outcome.add(reconcile.predicted(self.leaving_steps))
        outcome.add(reconcile.predicted(self.steps))
        if self._unit_change:
            outcome.other.append(self._unit_change)
        if isinstance(self._manager, Systemd) and self.wanted and self._manager.target_is_amiss():
            outcome.other.append(self._manager.target)
        return outcome

    def _await_listeners(self) -> None:
        """The multi manager waits for them itself; a unit without Type=notify is active too early."""
        if not isinstance(self._manager, Systemd):
            return
        for node in self.wanted:
            if node.listen and not wait(node.listen, node.start_timeout):
                unit = self._manager.unit(node.name)
                self.outcome.failures.append(
                    f"{unit} is active, but nothing accepts connections on {node.listen} after "
                    f"{node.start_timeout} s; `journalctl -u {unit}` tells why."
                )

    def _nodes(self) -> list[dict[str, Any]]:
        if not self._acted:
            return [_planned(step) for step in self.steps if step.wanted is not None]
        found = {one.name: one for one in self._manager.observe(self.wanted)}
        return [_described(node, found.get(node.name)) for node in self.wanted]

    def _difference(self) -> dict[str, dict[str, str]]:
        diff = reconcile.difference(self.steps)
        for name, before in reconcile.difference(self.leaving_steps)["before"].items():
            own = diff["before"].get(name, "not running")
            elsewhere = f"{before} under {self._leaving.name if self._leaving else ''}"
            diff["before"][name] = elsewhere if own == "not running" else f"{own}; {elsewhere}"
            diff["after"].setdefault(name, "absent")
        if self._unit is not None and self._unit_change:
            diff["before"][self._unit.unit] = self._unit.describe()
            diff["after"][self._unit.unit] = self._unit_change
        return diff


def _planned(step: Step) -> dict[str, Any]:
    wanted = step.wanted or Wanted(step.name, "")
    kept = step.action in (reconcile.KEEP, reconcile.ADOPT) and bool(step.running)
    return {
        "name": wanted.name,
        "nodename": wanted.nodename,
        "pid": step.running[0].pid if kept else None,
        "fingerprint": wanted.fingerprint,
        "state": reconcile.RUNNING,
    }


def _described(node: Wanted, found: Observed | None) -> dict[str, Any]:
    return {
        "name": node.name,
        "nodename": node.nodename,
        "pid": found.pid if found and found.pid else None,
        "fingerprint": found.fingerprint if found else None,
        "state": found.state if found else "absent",
    }
