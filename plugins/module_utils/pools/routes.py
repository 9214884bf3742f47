# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which queue a task goes to, who consumes each queue, and what about that cannot work."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import keys
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import Pool

LIST = "celery_routes"
KEYS = ("task", "queue", "priority")
#: What Redis' lists are sorted by: kombu takes 0, the first to be served, to 9.
LOWEST_PRIORITY = 9


def route_problems(routes: Any) -> list[str]:
    """What is wrong with the routes by themselves."""
    if not isinstance(routes, (list, tuple)):
        return [f"{LIST} is no list. Write each route as an item of a list: - {{task: ..., queue: ...}}."]
    problems: list[str] = []
    first: dict[str, int] = {}
    for index, route in enumerate(routes):
        place = f"{LIST}[{index}]"
        if not isinstance(route, Mapping):
            problems.append(f"{place} = {_show(route)} is no mapping. Write it as {{task: ..., queue: ...}}.")
            continue
        problems.extend(_keys(route, place))
        task = route.get("task")
        if isinstance(task, str) and task in first:
            problems.append(
                f"{place} routes {_show(task)}, and so does {LIST}[{first[task]}]: a task has one route. "
                "Remove one of the two."
            )
        first.setdefault(str(task), index)
    return problems


def _keys(route: Mapping[str, Any], place: str) -> list[str]:
    problems = []
    for key in route:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1, 0.5)
            remedy = f"Did you mean {near[0]}?" if near else f"Use the keys {', '.join(KEYS)}."
            problems.append(f"{place}: {key} = {_show(route[key])} is no key of a route. {remedy}")
    task = route.get("task")
    if not isinstance(task, str) or not task or any(letter.isspace() for letter in task):
        problems.append(
            f"{place}: task = {_show(task)} names no task. Write a task's name, such as orders.tasks.pack, "
            "or a pattern, such as orders.tasks.train_*."
        )
    try:
        keys.queues([route.get("queue")])
    except ValueError as error:
        problems.append(f"{place}: queue = {_show(route.get('queue'))} {error}.")
    priority = route.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= LOWEST_PRIORITY:
        problems.append(
            f"{place}: priority = {_show(priority)} is no whole number from 0 to {LOWEST_PRIORITY}. "
            f"Write 0 for what comes first, {LOWEST_PRIORITY} for what can wait, or leave it out."
        )
    return problems


def task_routes(routes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The routes as Celery's task_routes, in their order: of the patterns that fit, the first is taken."""
    return {
        str(route["task"]): {key: route[key] for key in KEYS[1:] if route.get(key) is not None}
        for route in routes
    }


def queue_consumers(pools: Sequence[Pool], hosts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Of each queue the pools that consume it, and of each pool its hosts. Sound pools only.

    hosts: every host that runs workers. A pool that is stood down, with no node, consumes nothing.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for pool in pools:
        places = [host for host in hosts if not pool.get("hosts") or host in pool["hosts"]]
        if not places or pool.get("nodes") == 0:
            continue
        for queue in pool["queues"]:
            found.setdefault(queue, {})[pool["name"]] = places
    return dict(sorted(found.items()))


def unconsumed(
    routes: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    pools: Sequence[Pool],
    hosts: Sequence[str],
) -> list[str]:
    """Routes of the inventory into queues that nobody reads. Sound routes and pools only."""
    consumers = queue_consumers(pools, hosts)
    down = {queue: pool["name"] for pool in pools if pool.get("nodes") == 0 for queue in pool["queues"]}
    wanted = [(f"{LIST}[{index}]", route["task"], route["queue"]) for index, route in enumerate(routes)]
    wanted += _in_settings(settings.get("task_routes"))
    problems = []
    for place, task, queue in wanted:
        if queue in consumers:
            continue
        reason = "which no pool of celery_worker_pools consumes"
        if queue in down:
            reason = f"which only the pool {down[queue]} consumes, and that has nodes: 0"
        near = difflib.get_close_matches(queue, consumers, 1, 0.6)
        hint = f"Did you mean {near[0]}?" if near else f"Consumed are: {', '.join(consumers) or 'none'}."
        problems.append(
            f"{place} sends {task} to the queue {queue}, {reason}: its tasks would wait for ever. {hint} "
            f"Correct the route, or list {queue} in the queues of a pool that runs."
        )
    return problems


def _in_settings(routes: Any) -> list[tuple[str, str, str]]:
    """The plain routes of Celery's own setting; what a router object would answer is not known here."""
    if not isinstance(routes, Mapping):
        return []
    found = []
    for task, target in routes.items():
        queue = target.get("queue") if isinstance(target, Mapping) else target
        if isinstance(queue, str):
            found.append(("celery_settings['task_routes']", str(task), queue))
    return found


def _show(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
