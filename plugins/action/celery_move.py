# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of a move: hide the URLs, and send the runtime that does the work along."""

from __future__ import annotations

import base64
import io
import json
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.fleet.plugins.module_utils.files import pack
from ansible_collections.celeryops.fleet.plugins.module_utils.release import archive
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runtime import runtime_files

_RUNTIME = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir, "runtime")

# As parameters of the module each value of theirs would mask every equal word of the answer.
_HIDDEN = ("broker_url", "result_backend", "settings")


class ActionModule(ActionBase):
    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        shipment = {name: arguments.pop(name, None) for name in _HIDDEN}
        if arguments.get("state") in ("marked", "reached", "moved", "swept") and not self._task.check_mode:
            try:
                shipment["runtime"] = _runtime()
            except (release.ReleaseError, archive.ArchiveError) as error:
                raise AnsibleActionFail(str(error)) from error
        result.update(
            self._execute_module(
                module_name="celeryops.fleet.celery_move",
                module_args=dict(arguments, shipment=pack([json.dumps(shipment)])),
                task_vars=variables,
            )
        )
        return result


def _runtime() -> str:
    packed = io.BytesIO()
    files = runtime_files(_RUNTIME)
    archive.write_tar([archive.text_entry(name, content) for name, content in sorted(files.items())], packed)
    return base64.b64encode(packed.getvalue()).decode("ascii")
