# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that write the text of configuration files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.module_utils import envfile
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import fingerprint as _fingerprint
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import multifile, unitfile


def env_file(environment: Mapping[str, Any]) -> str:
    try:
        return envfile.env_file(plain(environment))
    except envfile.EnvError as error:
        raise AnsibleFilterError(str(error)) from None


def celeryd_file(
    nodes: Sequence[Mapping[str, Any]],
    app: str,
    celery: str,
    chdir: str,
    run_dir: str,
    log_dir: str,
    user: str = "",
    group: str = "",
) -> str:
    return multifile.celeryd_file(plain(nodes), app, celery, chdir, run_dir, log_dir, user, group)


def unit_command(argv: Iterable[str]) -> str:
    try:
        return unitfile.unit_command(argv)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


def fingerprint(value: Any) -> str:
    return _fingerprint(value)


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {
            "celeryd_file": celeryd_file,
            "env_file": env_file,
            "fingerprint": fingerprint,
            "unit_command": unit_command,
        }
