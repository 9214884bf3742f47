# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about worker pools and their nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import PoolError, check_pools, node_specs


def pool_problems(
    pools: Any,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
) -> list[str]:
    return check_pools(plain(pools), plain(defaults), plain(hosts), manager)[1]


def pool_list(
    pools: Any,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
) -> list[dict[str, Any]]:
    checked, problems = check_pools(plain(pools), plain(defaults), plain(hosts), manager)
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return checked


def worker_nodes(
    pools: Any,
    host: str,
    state_dir: str,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
    identity: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    try:
        return node_specs(
            plain(pools), host, state_dir, plain(defaults), plain(hosts), manager, plain(identity), plain(settings)
        )
    except PoolError as error:
        raise AnsibleFilterError(str(error)) from error


def node_files(nodes: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Repeat file entries of host_files for each node; %n in dest is the node's name, `node` its spec."""
    return [
        {**entry, "dest": str(entry["dest"]).replace("%n", node["name"]), "vars": {**entry.get("vars", {}), "node": node}}
        for node in nodes
        for entry in files
    ]


class FilterModule:
    """The filters of this file, by name."""

    def filters(self):
        return {
            "node_files": node_files,
            "pool_list": pool_list,
            "pool_problems": pool_problems,
            "worker_nodes": worker_nodes,
        }
