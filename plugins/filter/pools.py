# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about worker pools and their nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import pools as _pools
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import routes as _routes
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import scaling as _scaling
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import specs as _nodes
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import visibility as _visibility


def pool_problems(
    pools: Any,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    checked, problems = _pools.check_pools(plain(pools), plain(defaults), plain(hosts), manager)
    return problems or _visibility.visibility_problems(checked, plain(settings or {}))


def route_problems(
    routes: Sequence[Mapping[str, Any]],
    pools: Any,
    hosts: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Every reason why these routes cannot work with these pools, which are judged elsewhere."""
    problems = _routes.route_problems(plain(routes))
    checked, unsound = _pools.check_pools(plain(pools))
    if problems or unsound:
        return problems
    return _routes.unconsumed(plain(routes), plain(settings or {}), checked, plain(hosts))


def queue_consumers(pools: Any, hosts: Sequence[str] = ()) -> dict[str, dict[str, list[str]]]:
    checked, problems = _pools.check_pools(plain(pools))
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return _routes.queue_consumers(checked, plain(hosts))


def task_routes(routes: Sequence[Mapping[str, Any]]) -> str:
    """Text, as its order counts and Ansible sorts what it writes itself."""
    return json.dumps(_routes.task_routes(plain(routes)), indent=2, ensure_ascii=False) + "\n"


def worker_nodes(
    pools: Any,
    host: str,
    state_dir: str,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
    identity: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    try:
        return _nodes.node_specs(
            plain(pools), host, state_dir, plain(defaults), plain(hosts), manager, plain(identity)
        )
    except _nodes.PoolError as error:
        raise AnsibleFilterError(str(error)) from None


def node_files(
    nodes: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Repeat file entries of host_files for each node; %n in dest is the node's name, `node` its spec."""
    return [
        {
            **entry,
            "dest": str(entry["dest"]).replace("%n", node["name"]),
            "vars": {**entry.get("vars", {}), "node": node},
        }
        for node in nodes
        for entry in files
    ]


def node_environment(node: Mapping[str, Any], release: str, etc_dir: str) -> dict[str, str]:
    return _nodes.node_environment(plain(node), str(release), str(etc_dir))


def node_wants(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return _nodes.node_wants(plain(nodes))


def node_limits(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return _nodes.node_limits(plain(nodes))


def scaled_nodes(
    pools: Any,
    host: str,
    pool: str,
    limits: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
) -> list[dict[str, Any]]:
    try:
        return _scaling.scaled_nodes(
            plain(pools), str(host), str(pool), plain(limits), plain(defaults), plain(hosts)
        )
    except _scaling.ScalingError as error:
        raise AnsibleFilterError(str(error)) from None


def longest_task(pools: Any, default: Any = None) -> float:
    try:
        return _pools.longest_task(plain(pools), plain(default))
    except (AttributeError, ValueError) as error:
        raise AnsibleFilterError("\n".join(_pools.check_pools(plain(pools))[1]) or str(error)) from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {
            "longest_task": longest_task,
            "node_environment": node_environment,
            "node_files": node_files,
            "node_limits": node_limits,
            "node_wants": node_wants,
            "pool_problems": pool_problems,
            "queue_consumers": queue_consumers,
            "route_problems": route_problems,
            "scaled_nodes": scaled_nodes,
            "task_routes": task_routes,
            "worker_nodes": worker_nodes,
        }
