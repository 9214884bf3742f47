# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the look at a host: two looks at its own clock, around the host's."""

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.clocks import measure


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        sent = time.time()
        result.update(
            self._execute_module(module_name="celeryops.fleet.celery_preflight", task_vars=task_vars or {})
        )
        clock = result.get("clock")
        if clock:
            clock.update(measure(sent, clock["began"], clock["ended"], time.time()))
        return result
