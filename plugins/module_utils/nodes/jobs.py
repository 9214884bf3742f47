# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes on their way through a plan, each at its own pace."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Launch
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import records
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Step

StatusReader = Callable[[], Mapping[str, Any]]

# The records are read at most this often: a read starts a Python.
READ_SECONDS = 1.0

# A launch may be between two forks, or its environment not readable during an exec. Only after this long, and
# after as many looks at the host, without any process, it has died. The looks count because reading the
# records may hold up everything for seconds on a busy host.
VANISHED_SECONDS = 2.5
VANISHED_LOOKS = 4

NEW, STOPPING, STOPPED, STARTING, DONE = "new", "stopping", "stopped", "starting", "done"


class Job:
    """One node on its way through a plan."""

    def __init__(self, step: Step, found: Sequence[Process], stop_timeout: int) -> None:
        """stop_timeout: for a node that is not listed any more and so brings none of its own."""
        self.step = step
        self.name = step.name
        self.processes = list(found)
        self.phase = NEW
        self.killed = False
        self.deadline = 0.0
        self.seen = 0.0
        self.missed = 0
        self.log_offset = 0
        self.launch: Launch | None = None
        self.start_timeout = step.wanted.start_timeout if step.wanted else 0
        self.stop_timeout = step.wanted.stop_timeout if step.wanted else stop_timeout

    def to(self, phase: str, timeout: float = 0) -> None:
        self.phase = phase
        self.seen = time.monotonic()
        self.missed = 0
        self.deadline = self.seen + timeout

    def look(self, alive: bool) -> None:
        """Note whether the node has a process, or a command that is to start one, at this moment."""
        if alive or not self.is_launched:
            self.seen = time.monotonic()
            self.missed = 0
        else:
            self.missed += 1

    @property
    def has_vanished(self) -> bool:
        return self.missed >= VANISHED_LOOKS and time.monotonic() - self.seen > VANISHED_SECONDS

    @property
    def busy(self) -> bool:
        return self.phase != DONE

    @property
    def is_launched(self) -> bool:
        """Whether the command that starts it, if there is one, has ended."""
        return self.launch is None or self.launch.rc is not None

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline


class Reader:
    """Reads the records at most once in READ_SECONDS, for all nodes together."""

    def __init__(self, status: StatusReader | None) -> None:
        self._status = status
        self._next = 0.0
        self._answer: tuple[Mapping[str, Any] | None, str] = (None, "the records were not read")

    def read(self) -> tuple[Mapping[str, Any] | None, str]:
        if self._status is not None and time.monotonic() >= self._next:
            began = time.monotonic()
            try:
                self._answer = (self._status(), "")
            except records.RecordsError as error:
                self._answer = (None, f"the records cannot be read: {error}")
            # On a busy host a read takes longer; reading must not be what keeps the host busy.
            took = time.monotonic() - began
            self._next = time.monotonic() + max(READ_SECONDS, 2 * took)
        return self._answer
