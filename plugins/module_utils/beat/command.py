# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Redis knows of beat, asked and told through the runtime's command line."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.beat.place import ANYWHERE, Place
from ansible_collections.celeryops.fleet.plugins.module_utils.commands import run

TIMEOUT = 30
"""Seconds. A broker that does not answer is given up by the runtime itself."""


class CommandError(Exception):
    """The command has not answered; the text says what was run and what it said."""


class Beat:
    """``python -m celeryops beat`` of one fleet. It does not import the application.

    Parameters:
        opt_dir: The fleet's program folder.
        fleet: Its name.
    """

    def __init__(self, opt_dir: str, fleet: str) -> None:
        self.wrapper = os.path.join(opt_dir, "bin", "run")
        self._fleet = fleet

    @property
    def is_installed(self) -> bool:
        return os.access(self.wrapper, os.X_OK)

    def show(self) -> dict[str, Any]:
        return self._ask("beat", "show")

    def place(self, place: Place) -> bool:
        """Whether that was a change."""
        told = ["--mode", place["mode"], "--host", place["host"]] if place else ["--mode", ANYWHERE]
        return bool(self._ask("beat", "place", *told)["changed"])

    def forget(self, host: str) -> bool:
        return bool(self._ask("beat", "forget", "--host", host)["changed"])

    def _command(self, *words: str) -> list[str]:
        return [self.wrapper, "python", "-m", "celeryops", *words, "--json", "--fleet", self._fleet]

    def _ask(self, *words: str) -> dict[str, Any]:
        command = self._command(*words)
        result = run(command, timeout=TIMEOUT)
        shown = " ".join(command)
        if result.timed_out:
            raise CommandError(f"`{shown}` has not answered within {TIMEOUT} s; is the broker reachable?")
        try:
            found = json.loads(result.out)
        except ValueError:
            found = None
        if result.rc != 0 or not isinstance(found, dict):
            said = "\n".join(result.text.splitlines()[-5:]) or "nothing"
            raise CommandError(f"`{shown}` ended with {result.rc} and said: {said}")
        return found
