# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nodes that a host runs, worked out from the list of pools."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import fingerprint, plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.keys import written
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.options import pool_options, to_argv
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import LIMITS, Pool, check_pools

#: Keys for which celery worker has no option, and the settings that they are.
SETTINGS = {"log_format": "worker_log_format", "task_log_format": "worker_task_log_format"}
#: Keys whose 0 lifts a limit that the application or the fleet's defaults may set.
UNLIMITED = {
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "max_memory_per_child": "worker_max_memory_per_child",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
}


class PoolError(ValueError):
    """The list of pools cannot work. Each line of the text is a reason."""


def node_specs(
    pools: Any,
    host: str,
    state_dir: str,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
    identity: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The nodes that run on one host.

    identity: whatever else a process is started from (release, environment, settings, user ...); a change of
    it changes every fingerprint.
    """
    checked, problems = check_pools(pools, defaults, hosts, manager)
    if problems:
        raise PoolError("\n".join(problems))
    specs = []
    for pool in checked:
        if pool.get("hosts") and host not in pool["hosts"]:
            continue
        for number in range(1, pool["nodes"] + 1):
            specs.append(_spec(pool, number, str(host), str(state_dir), identity or {}))
    return specs


def _spec(pool: Pool, number: int, host: str, state_dir: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{pool['name']}-{number}"
    nodename = f"{name}@{host}"
    spec = {
        "name": name,
        "nodename": nodename,
        "pool": pool["name"],
        "queues": pool["queues"],
        "argv": ["worker", *to_argv(pool_options(pool, nodename, f"{state_dir}/{name}.db"))],
        "environment": {key: str(value) for key, value in (pool.get("environment") or {}).items()},
        "settings": _settings(pool),
        "limits": {key: str(pool[key]) for key in LIMITS if pool.get(key)},
        "autoscale": pool.get("autoscale"),
        "concurrency": pool.get("concurrency"),
        # The solo pool runs its task where the watchdog would be fed: a long task is no hang.
        "watchdog": 0 if pool["pool"] == "solo" else math.ceil(pool.get("watchdog") or 0),
        "start_timeout": math.ceil(pool["start_timeout"]),
        "stop_timeout": math.ceil(pool["stop_timeout"]),
    }
    parts = ("environment", "settings", "limits", "watchdog")
    # Limits of the autoscaler change in a running node; that it has one does not.
    argv = ["--autoscale" if word.startswith("--autoscale=") else word for word in spec["argv"]]
    spec["fingerprint"] = fingerprint(
        {"identity": identity, "argv": argv, **{key: spec[key] for key in parts}}
    )
    return spec


def autoscale_file(node: Mapping[str, Any], etc_dir: str) -> str:
    """Where an autoscaled node finds its limits and guards when it starts."""
    return f"{etc_dir}/nodes/{node['name']}.autoscale.json"


def node_environment(node: Mapping[str, Any], release: str, etc_dir: str) -> dict[str, str]:
    """What a node's process finds in its environment besides that of the fleet."""
    own = {
        "CELERYOPS_FINGERPRINT": node["fingerprint"],
        "CELERYOPS_NODE": node["name"],
        "CELERYOPS_POOL": node["pool"],
        # The fleet's environment has it too, but changes when a release is prepared; this with the node.
        "CELERYOPS_RELEASE": release,
    }
    if node["settings"]:
        own["CELERYOPS_NODE_SETTINGS"] = json.dumps({"settings": node["settings"]}, sort_keys=True)
    if node["autoscale"]:
        own["CELERYOPS_AUTOSCALE_FILE"] = autoscale_file(node, etc_dir)
    return {**node["environment"], **own}


def node_wants(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each spec what celery_nodes asks for."""
    keys = ("name", "nodename", "fingerprint", "start_timeout", "stop_timeout")
    return [{key: node[key] for key in keys} for node in nodes]


def node_limits(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each spec of an autoscaled node what celery_autoscaler asks for."""
    return [
        {"name": node["name"], "nodename": node["nodename"], "limits": written(node["autoscale"])}
        for node in nodes
        if node["autoscale"]
    ]


def _settings(pool: Pool) -> dict[str, Any]:
    """Celery settings of this pool alone."""
    settings = {name: pool[key] for key, name in SETTINGS.items() if pool.get(key)}
    settings.update({name: None for key, name in UNLIMITED.items() if pool.get(key) == 0})
    if not pool["events"]:
        settings["worker_send_task_events"] = False
    return plain({**settings, **(pool.get("settings") or {})})
