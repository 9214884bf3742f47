# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Worker pools as data: every pool in one fixed form, or everything that is wrong with the list."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Dict

from ansible_collections.celeryops.fleet.plugins.module_utils.envfile import env_problems, reserved_problems
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.keys import CHECKERS, SUPPORT
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.options import parse_extra
from ansible_collections.celeryops.fleet.plugins.module_utils.units import parse_seconds

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
LIMITS = ("memory_max", "memory_high", "cpu_quota")
_HOST = re.compile(r"[A-Za-z0-9._:-]+\Z")

Pool = Dict[str, Any]


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
    result: dict[int, Pool] = {}
    for index, pool in enumerate(pools):
        place = f"{LIST}[{index}]"
        if not isinstance(pool, Mapping):
            problems.append(f"{place} = {_show(pool)} is no mapping. Write it as name:, queues: and so on.")
            continue
        if isinstance(pool.get("name"), str):
            place += f" ({pool['name']})"
        checked = _check_keys(pool, place, problems)
        problems.extend(_conflicts(checked, place))
        whole = _fill(checked, shared)
        problems.extend(_unfit(whole, checked, place, hosts, manager))
        result[index] = whole
    problems.extend(_duplicates(result))
    problems.extend(_bad_hosts(hosts))
    return list(result.values()), problems


def longest_task(pools: Any, default: Any = None) -> float:
    """Seconds that the longest hard time limit of any pool allows, 0 when none has one. Sound pools only."""
    limits = [0.0]
    for pool in pools or []:
        limit = pool.get("time_limit", default) or 0
        limits.append(parse_seconds(limit))
    return max(limits)


def _check_defaults(defaults: Mapping[str, Any], problems: list[str]) -> Pool:
    shared: Pool = {}
    for key, value in defaults.items():
        # Empty text, lists and zeros are how a role's default says "not set".
        if value in ("", None, [], {}) or (key == "concurrency" and value == 0):
            continue
        shared.update(_check_value(key, value, f"{PREFIX}{key}", problems))
    if shared.get("concurrency") and shared.get("autoscale"):
        problems.append(
            f"{PREFIX}concurrency = {shared['concurrency']} and {PREFIX}autoscale are both set; a pool has "
            "a fixed number of processes or a range of it. Unset one of them."
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
        both = f"concurrency = {checked['concurrency']} and autoscale = {_show(checked['autoscale'])}"
        why = "a pool has a fixed number of processes or a range of it"
        return [f"{place} has both {both}; {why}. Remove one of them."]
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
        if checked.get(key) not in (None, 0, "default") and whole["pool"] not in classes:
            problems.append(
                f"{place}: {key} = {_show(checked[key])} has no effect in a pool of class {whole['pool']}. "
                f"Remove it, or use pool: {' or '.join(classes)}."
            )
    soft, hard, stop = whole.get("soft_time_limit"), whole.get("time_limit"), whole["stop_timeout"]
    if soft and hard and soft >= hard:
        problems.append(
            f"{place}: soft_time_limit of {soft} s is not below time_limit of {hard} s, so a task is killed "
            "before it is asked to end. Lower the soft limit or raise the hard one."
        )
    if hard and stop < hard:
        problems.append(
            f"{place}: stop_timeout of {stop} s is shorter than time_limit of {hard} s, so a stopping node "
            "would be killed with a task that may still run. Raise it, or leave it out to follow the limit."
        )
    high, top = whole.get("memory_high"), whole.get("memory_max")
    if high and top and high > top:
        problems.append(
            f"{place}: memory_high of {high} bytes is above memory_max of {top} bytes and would never take "
            "effect. Lower memory_high or raise memory_max."
        )
    if manager == "multi":
        for key in LIMITS:
            if whole.get(key):
                problems.append(
                    f"{place}: {key} = {_show(whole[key])} needs systemd, and celery_service_manager is "
                    "multi. Remove it, or bound the pool with max_memory_per_child and concurrency."
                )
    for host in whole.get("hosts") or []:
        if hosts and host not in hosts:
            near = difflib.get_close_matches(host, [str(one) for one in hosts], 1, 0.5)
            hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(sorted(hosts))}."
            problems.append(f"{place}: hosts lists {_show(host)}, which is no worker host. {hint}")
    return problems


def _duplicates(pools: Mapping[int, Pool]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for index, pool in pools.items():
        name = pool.get("name")
        if name is None:
            continue
        if name in first:
            problems.append(
                f"{LIST}[{first[name]}] and {LIST}[{index}] are both named {name}, so their nodes would bear "
                "the same names and take each other's place. Rename one of the pools."
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
