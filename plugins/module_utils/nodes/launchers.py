# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How background nodes are started: by `celery-multi`, or detached one by one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Launch, sourced
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Step


class Launcher(ABC):
    """How this manager's nodes are started."""

    # The program that it runs.
    command = ""

    @abstractmethod
    def launch(self, steps: Sequence[Step]) -> list[tuple[Sequence[Step], Launch]]:
        """Start these nodes; one command may bring up several. A node left out is asked for again."""

    def finish(self) -> None:  # noqa: B027 - some have nothing to do then
        """Everything that was to be started is up, or was given up."""


class CeleryMulti(Launcher):
    """`celery-multi start NODE`, one process for each node, all at once."""

    def __init__(self, opt_dir: str) -> None:
        self.command = os.path.join(opt_dir, "bin", "celery-multi")

    def launch(self, steps: Sequence[Step]) -> list[tuple[Sequence[Step], Launch]]:
        return [([step], Launch([self.command, "start", step.name])) for step in steps]


class Detached(Launcher):
    """Beat and Flower, with Celery's own daemonising through the runtime's `detach`."""

    def __init__(self, python: str, run_dir: str, log_dir: str, user: str | None) -> None:
        self.command = python
        self.run_dir = run_dir
        self.log_dir = log_dir
        self.user = user

    def launch(self, steps: Sequence[Step]) -> list[tuple[Sequence[Step], Launch]]:
        return [([step], Launch(self.arguments(step), self.user)) for step in steps if step.wanted]

    def arguments(self, step: Step) -> list[str]:
        if step.wanted is None:
            return []
        command = [self.command, "-m", "celeryops", "detach"]
        command += ["--pidfile", os.path.join(self.run_dir, f"{step.name}.pid")]
        command += ["--logfile", os.path.join(self.log_dir, f"{step.name}.log")]
        if step.wanted.chdir:
            command += ["--chdir", step.wanted.chdir]
        return sourced(step.wanted.env_files, [*command, "--", *step.wanted.argv])
