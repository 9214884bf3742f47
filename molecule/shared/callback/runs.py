# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps book of Molecule's runs, so that verify can judge the runs before it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: runs
type: aggregate
short_description: Keeps book of Molecule's runs
description:
  - Adds one line of JSON for each run of ansible-playbook to C(runs.jsonl) in Molecule's ephemeral folder.
  - A line names the playbook, whether it ran in check mode, when it began, how many tasks and seconds it had,
    and what changed.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "runs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._run: dict[str, Any] = {"check": bool(context.CLIARGS.get("check")), "tasks": 0, "changed": []}
        self._run["began"] = time.time()
        self._start = time.monotonic()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._run["playbook"] = Path(playbook._file_name).name

    def v2_runner_on_ok(self, result: Any) -> None:
        self._run["tasks"] += 1
        if result.is_changed():
            self._run["changed"].append(f"{result._host.get_name()}: {result._task.get_name()}")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._run["seconds"] = round(time.monotonic() - self._start, 1)
        folder = os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY")
        if folder:
            with Path(folder, "runs.jsonl").open("a") as book:
                book.write(json.dumps(self._run) + "\n")
