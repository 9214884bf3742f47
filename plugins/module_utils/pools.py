# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Worker pools as data: judge the list as a whole, then say which nodes a host runs."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Dict

from .envfile import env_problems, reserved_problems
from .fingerprint import fingerprint, plain
from .poolkeys import CHECKERS, SUPPORT
from .units import parse_seconds
from .workeroptions import parse_extra, pool_options, to_argv

LIST = "celery_worker_pools"
PREFIX = "celery_worker_"
#: What a pool is when neither it nor a role-wide variable says.
BUILT_IN: dict[str, Any] = {
    "nodes": 1,
    "pool": "prefork",
    "optimization": "fair",
    "prefetch_multiplier": 1,
    "log_level": "INFO",
    "events": True,
    "watchdog": 60,
    "start_timeout": 120,
}
#: How long a stopping node may take when no time limit bounds its tasks: Redis' visibility timeout, after
#: which another worker gets the task anyway.
STOP_TIMEOUT = 3600
#: Between the hard limit of the last task and the end of a stopping worker.
STOP_MARGIN = 30
#: Keys for which celery worker has no option, and the settings that they are.
SETTINGS = {"log_format": "worker_log_format", "task_log_format": "worker_task_log_format"}
#: Keys whose 0 lifts a limit that the application or the fleet's defaults may set.
UNLIMITED = {
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "max_memory_per_child": "worker_max_memory_per_child",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
}
LIMITS = ("memory_max", "memory_high", "cpu_quota")
_HOST = re.compile(r"[A-Za-z0-9._:-]+\Z")

Pool = Dict[str, Any]


class PoolError(ValueError):
    """The list of pools cannot work. `problems` holds a sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def check_pools(
    pools: Any,
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
    manager: str = "systemd",
) -> tuple[list[Pool], list[str]]:
    """Normalise the pools. Returns them and every problem found; they are of use only when there is none.

    defaults: role-wide values by key. hosts: names the pools may list, none for any.
    """
    if not isinstance(pools, (list, tuple)):
        return [], [f"{LIST} is no list. Write each pool as an item of a list, starting with '- name:'."]
    if not pools:
        return [], [f"{LIST} is empty, so the fleet would run no worker. List at least one pool."]
    problems: list[str] = []
    shared = _check_defaults(defaults or {}, problems)
    result = []
    for index, pool in enumerate(pools):
        place = f"{LIST}[{index}]"
        if not isinstance(pool, Mapping):
            problems.append(f"{place} = {_show(pool)} is no mapping. Write a pool as name:, queues: and so on.")
            continue
        if isinstance(pool.get("name"), str):
            place += f" ({pool['name']})"
        checked = _check_keys(pool, place, problems)
        problems.extend(_conflicts(checked, place))
        whole = _fill(checked, shared)
        problems.extend(_unfit(whole, checked, place, hosts, manager))
        result.append(whole)
    problems.extend(_duplicates(result))
    problems.extend(_bad_hosts(hosts))
    return result, problems


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

    identity: whatever else a process is started from (release, environment, settings, user ...); a change of it
    changes every fingerprint.
    """
    checked, problems = check_pools(pools, defaults, hosts, manager)
    if problems:
        raise PoolError(problems)
    specs = []
    for pool in checked:
        if pool.get("hosts") and host not in pool["hosts"]:
            continue
        for number in range(1, pool["nodes"] + 1):
            specs.append(_spec(pool, number, str(host), str(state_dir), identity or {}))
    return specs


def longest_task(pools: Any, default: Any = None) -> float:
    """Seconds that the longest hard time limit of any pool allows, 0 when none has one. Sound pools only."""
    limits = [0.0]
    for pool in pools or []:
        limit = pool.get("time_limit", default) or 0
        limits.append(parse_seconds(limit))
    return max(limits)


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
    parts = ("argv", "environment", "settings", "limits", "watchdog")
    spec["fingerprint"] = fingerprint({"identity": identity, **{key: spec[key] for key in parts}})
    return spec


def node_environment(node: Mapping[str, Any], release: str) -> dict[str, str]:
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
    return {**node["environment"], **own}


def node_wants(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each spec what celery_nodes asks for."""
    keys = ("name", "nodename", "fingerprint", "start_timeout", "stop_timeout")
    return [{key: node[key] for key in keys} for node in nodes]


def _settings(pool: Pool) -> dict[str, Any]:
    """Celery settings of this pool alone."""
    settings = {name: pool[key] for key, name in SETTINGS.items() if pool.get(key)}
    settings.update({name: None for key, name in UNLIMITED.items() if pool.get(key) == 0})
    if not pool["events"]:
        settings["worker_send_task_events"] = False
    return plain({**settings, **(pool.get("settings") or {})})


def _check_defaults(defaults: Mapping[str, Any], problems: list[str]) -> Pool:
    shared: Pool = {}
    for key, value in defaults.items():
        # Empty text, lists and zeros are how a role's default says "not set".
        if value in ("", None, [], {}) or (value == 0 and key == "concurrency" and not isinstance(value, bool)):
            continue
        shared.update(_check_value(key, value, f"{PREFIX}{key}", problems))
    if shared.get("concurrency") and shared.get("autoscale"):
        problems.append(
            f"{PREFIX}concurrency = {shared['concurrency']} and {PREFIX}autoscale are both set; a pool has a fixed "
            "number of processes or a range of it. Unset one of them."
        )
    return shared


def _check_keys(pool: Mapping[str, Any], place: str, problems: list[str]) -> Pool:
    checked: Pool = {}
    for key in ("name", "queues"):
        if pool.get(key) is None:
            problems.append(f"{place} has no {key}. Add the key {key}.")
    for key, value in pool.items():
        if key not in CHECKERS:
            near = difflib.get_close_matches(str(key), CHECKERS, 1, 0.5)
            remedy = f"Did you mean {near[0]}?" if near else f"Use the keys {', '.join(CHECKERS)}."
            problems.append(f"{place}: {key} = {_show(value)} is no key of a pool. {remedy}")
        elif value is None:
            checked[key] = None
        else:
            checked.update(_check_value(key, value, f"{place}: {key}", problems))
    return checked


def _check_value(key: str, value: Any, place: str, problems: list[str]) -> Pool:
    shown = f"{place} = {_show(value)}"
    if key == "environment" and isinstance(value, Mapping):
        # Values of an environment may be secret: these problems name the variables alone.
        found = env_problems(value, place) + reserved_problems(value, place)
        problems.extend(found)
        return {} if found else {key: dict(value)}
    try:
        checked = CHECKERS[key](value)
    except ValueError as error:
        problems.append(f"{shown} {error}.")
        return {}
    if key == "extra_args":
        problems.extend(f"{shown} {problem}." for problem in parse_extra(checked)[1])
    return {key: checked}


def _conflicts(checked: Pool, place: str) -> list[str]:
    if checked.get("concurrency") and checked.get("autoscale"):
        return [
            f"{place} has both concurrency = {checked['concurrency']} and autoscale = {_show(checked['autoscale'])}; "
            "a pool has a fixed number of processes or a range of it. Remove one of them."
        ]
    return []


def _fill(checked: Pool, shared: Pool) -> Pool:
    whole: Pool = {**BUILT_IN, **shared}
    for key, other in (("concurrency", "autoscale"), ("autoscale", "concurrency")):
        if checked.get(key):
            whole.pop(other, None)
    whole.update(checked)
    for key in ("environment", "settings"):
        if shared.get(key) and checked.get(key):
            whole[key] = {**shared[key], **checked[key]}
    for key, value in BUILT_IN.items():
        # None lifts a role-wide value, but these must be something.
        if whole.get(key) is None and key != "watchdog":
            whole[key] = value
    for key, classes in SUPPORT.items():
        if key not in checked and whole["pool"] not in classes:
            whole.pop(key, None)
    limit = whole.get("time_limit")
    if whole.get("stop_timeout") is None:
        whole["stop_timeout"] = limit + STOP_MARGIN if limit else STOP_TIMEOUT
    return whole


def _unfit(whole: Pool, checked: Pool, place: str, hosts: Sequence[str], manager: str) -> list[str]:
    """What is sound by itself but cannot work together."""
    problems = []
    for key, classes in SUPPORT.items():
        if checked.get(key) and whole["pool"] not in classes and not (key == "optimization" and checked[key] == "default"):
            problems.append(
                f"{place}: {key} = {_show(checked[key])} has no effect in a pool of class {whole['pool']}. "
                f"Remove it, or use pool: {' or '.join(classes)}."
            )
    soft, hard, stop = whole.get("soft_time_limit"), whole.get("time_limit"), whole["stop_timeout"]
    if soft and hard and soft >= hard:
        problems.append(
            f"{place}: soft_time_limit of {soft} s is not below time_limit of {hard} s, so a task is killed before it "
            "is asked to end. Lower the soft limit or raise the hard one."
        )
    if hard and stop < hard:
        problems.append(
            f"{place}: stop_timeout of {stop} s is shorter than time_limit of {hard} s, so a stopping node would be "
            "killed with a task that may still run. Raise stop_timeout, or leave it out to have it follow the limit."
        )
    high, top = whole.get("memory_high"), whole.get("memory_max")
    if high and top and high > top:
        problems.append(
            f"{place}: memory_high of {high} bytes is above memory_max of {top} bytes and would never take effect. "
            "Lower memory_high or raise memory_max."
        )
    if manager == "multi":
        for key in LIMITS:
            if whole.get(key):
                problems.append(
                    f"{place}: {key} = {_show(whole[key])} needs systemd, and celery_service_manager is multi. "
                    "Remove it, or bound the pool with max_memory_per_child and concurrency."
                )
    for host in whole.get("hosts") or []:
        if hosts and host not in hosts:
            near = difflib.get_close_matches(host, [str(one) for one in hosts], 1, 0.5)
            hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(sorted(hosts))}."
            problems.append(f"{place}: hosts lists {_show(host)}, which is no worker host of the inventory. {hint}")
    return problems


def _duplicates(pools: Sequence[Pool]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for index, pool in enumerate(pools):
        name = pool.get("name")
        if name is None:
            continue
        if name in first:
            problems.append(
                f"{LIST}[{index}] and {LIST}[{first[name]}] are both named {name}, so their nodes would bear the same "
                "names and take each other's place. Rename one of the pools."
            )
        first.setdefault(name, index)
    return problems


def _bad_hosts(hosts: Sequence[str]) -> list[str]:
    return [
        f"inventory host {_show(host)} cannot be part of a Celery node's name. "
        "Name the host with letters, digits, dots and dashes, and put its address into ansible_host."
        for host in hosts
        if not _HOST.match(str(host))
    ]


def _show(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
