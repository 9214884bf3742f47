# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends a run as a lost connection or an impatient operator does: in the middle, with nothing tidied up."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: stop_at
type: aggregate
short_description: Kills the run when a task begins
description:
  - Kills ansible-playbook just before the task whose name is in the environment variable C(MOLECULE_STOP_AT).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "stop_at"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if task.name == os.environ["MOLECULE_STOP_AT"]:
            os.kill(os.getpid(), signal.SIGKILL)
