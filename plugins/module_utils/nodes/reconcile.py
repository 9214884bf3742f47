# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must happen so that the processes of a host become the nodes that are wanted.

Nothing here touches the host: `plan` takes what is wanted and what was observed and answers with one step
for each node. Managers observe and act; the module reports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Iterable, Sequence

KEEP = "keep"
START = "start"
RESTART = "restart"
ADOPT = "adopt"
REMOVE = "remove"

# States of an observed node.
RUNNING = "running"
STARTING = "starting"
STOPPING = "stopping"
STOPPED = "stopped"
FAILED = "failed"

# What no running process carries, told apart from "not running" in reasons and diffs.
NO_FINGERPRINT = "no fingerprint"


@dataclass(frozen=True)
class Wanted:
    """A node as the inventory wants it. Time-outs are seconds."""

    name: str
    fingerprint: str
    nodename: str = ""
    start_timeout: int = 60
    stop_timeout: int = 600
    argv: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    chdir: str = ""
    listen: str = ""


@dataclass(frozen=True)
class Observed:
    """A node as it was found.

    outdated: it carries the fingerprint, and yet was not started from the files that are there now.
    home: it runs where its manager keeps it (its unit, its pidfile's pid, the wrapping unit's control
    group). What runs elsewhere (started by hand, pidfile lost, another manager's) is a stray.
    traces: files which are left when the process is gone, and are removed with the node.
    """

    name: str
    pid: int = 0
    fingerprint: str | None = None
    state: str = STOPPED
    home: bool = True
    enabled: bool = True
    detail: str = ""
    traces: tuple[str, ...] = ()
    outdated: bool = False

    @property
    def alive(self) -> bool:
        return self.pid > 0


@dataclass(frozen=True)
class Step:
    """What is done to one node, and why."""

    name: str
    action: str
    reason: str = ""
    wanted: Wanted | None = None
    observed: tuple[Observed, ...] = ()
    enable: bool = False

    @property
    def changes(self) -> bool:
        return self.action != KEEP or self.enable

    @property
    def running(self) -> tuple[Observed, ...]:
        return tuple(one for one in self.observed if one.alive)


@dataclass
class Outcome:
    """What was done, node by node. `failures` holds finished sentences."""

    started: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    enabled: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reloaded: bool = False

    @property
    def changed(self) -> bool:
        return any(
            (self.started, self.restarted, self.adopted, self.enabled, self.stopped, self.removed, self.other)
        )

    def add(self, more: Outcome) -> None:
        for one in fields(self):
            if one.name == "reloaded":
                self.reloaded = self.reloaded or more.reloaded
            else:
                getattr(self, one.name).extend(getattr(more, one.name))

    def join_moves(self) -> None:
        """A node that was removed under one manager and started under the other was restarted."""
        for name in set(self.removed).intersection([*self.started, *self.restarted]):
            for names in (self.removed, self.stopped, self.started, self.restarted):
                while name in names:
                    names.remove(name)
            self.restarted.append(name)

    def lists(self) -> dict[str, list[str]]:
        names = ("started", "restarted", "adopted", "enabled", "stopped", "removed")
        return {name: sorted(set(getattr(self, name))) for name in names}


class Manager(ABC):
    """What keeps nodes running on a host."""

    name = ""

    @abstractmethod
    def observe(self, wanted: Sequence[Wanted]) -> list[Observed]:
        """The wanted nodes that exist in any form, and every other node of the manager's kind."""

    @abstractmethod
    def obstacles(self, steps: Sequence[Step]) -> list[str]:
        """What keeps a plan from being carried out. Asked before anything is stopped for it."""

    @abstractmethod
    def apply(self, steps: Sequence[Step]) -> Outcome:
        """Act on a plan. Failures are gathered, not raised, so that every node gets its turn."""


def plan(wanted: Sequence[Wanted], observed: Iterable[Observed]) -> list[Step]:
    """One step for each node that is wanted or was found, wanted ones first and in their order."""
    _refuse_duplicates(wanted)
    found: dict[str, list[Observed]] = {}
    for one in observed:
        found.setdefault(one.name, []).append(one)
    steps = [_step(node, found.pop(node.name, [])) for node in wanted]
    steps += [
        Step(name, REMOVE, "is not listed", observed=tuple(ones)) for name, ones in sorted(found.items())
    ]
    return steps


def _step(node: Wanted, ones: list[Observed]) -> Step:
    def step(action: str, reason: str = "", enable: bool = False) -> Step:
        return Step(node.name, action, reason, node, tuple(ones), enable)

    home = next((one for one in ones if one.home), None)
    alive = [one for one in ones if one.alive]
    strays = [one for one in alive if not one.home]

    if home is not None and home.alive and not strays:
        if home.state == STOPPING:
            return step(RESTART, "is stopping")
        if home.fingerprint != node.fingerprint:
            return step(RESTART, describe_difference(home.fingerprint, node.fingerprint))
        if home.outdated:
            return step(RESTART, "was started from an older unit file")
        return step(KEEP, enable=not home.enabled)
    if strays:
        where = strays[0].detail or f"process {strays[0].pid} runs outside its manager"
        adoptable = (
            len(alive) == 1
            and strays[0].fingerprint == node.fingerprint
            and strays[0].state == RUNNING
            and strays[0].detail == ""
        )
        return step(ADOPT if adoptable else RESTART, where)
    if home is not None and home.state == FAILED:
        return step(START, home.detail or "has failed")
    return step(START, "is not running")


def describe_difference(running: str | None, wanted: str) -> str:
    if not running:
        return f"runs with {NO_FINGERPRINT}, {wanted} is wanted"
    return f"runs {running}, {wanted} is wanted"


def _refuse_duplicates(wanted: Sequence[Wanted]) -> None:
    seen = set()
    for node in wanted:
        if node.name in seen:
            raise ValueError(
                f"node {node.name} is listed twice; every node of a host needs a name of its own"
            )
        seen.add(node.name)


def predicted(steps: Sequence[Step]) -> Outcome:
    """The lists which a run of these steps reports when nothing fails."""
    outcome = Outcome()
    for step in steps:
        if step.action == START:
            outcome.started.append(step.name)
        elif step.action == RESTART:
            outcome.restarted.append(step.name)
        elif step.action == ADOPT:
            outcome.adopted.append(step.name)
        elif step.action == REMOVE:
            outcome.removed.append(step.name)
            if step.running:
                outcome.stopped.append(step.name)
        if step.enable:
            outcome.enabled.append(step.name)
    return outcome


def difference(steps: Sequence[Step]) -> dict[str, dict[str, str]]:
    """before and after for Ansible's diff: {node: fingerprint or state}; equal when nothing changes."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for step in steps:
        before[step.name] = _before(step)
        if step.action == REMOVE:
            after[step.name] = "absent"
        elif step.wanted is not None and step.changes:
            after[step.name] = step.wanted.fingerprint
        else:
            after[step.name] = before[step.name]
    return {"before": before, "after": after}


def _before(step: Step) -> str:
    if not any(one.alive or one.state == FAILED for one in step.observed):
        # The same whether its files are there already or, in check mode, are not.
        return "not running"
    words = []
    for one in step.observed:
        word = (one.fingerprint or NO_FINGERPRINT) if one.alive else one.state
        if one.alive and one.state == STOPPING:
            word += ", stopping"
        if one.alive and not one.home:
            word += f", {one.detail or 'outside its manager'}"
        if one.alive and one.home and not one.enabled:
            word += ", not enabled"
        words.append(word)
    return "; ".join(words)
