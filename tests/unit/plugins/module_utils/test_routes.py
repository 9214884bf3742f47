from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.filter.pools import (
    queue_consumers,
    route_problems,
    task_routes,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.pools import routes as rules

HOSTS = ["worker1", "worker2"]
POOLS: list[dict[str, Any]] = [
    {"name": "default", "queues": ["celery", "mail"]},
    {"name": "ml", "queues": ["ml"], "hosts": ["worker2"]},
    {"name": "old", "queues": ["attic"], "nodes": 0},
]
ROUTE = {"task": "orders.tasks.train_*", "queue": "ml"}


def test_consumers_are_pools_that_run_and_their_hosts() -> None:
    assert queue_consumers(POOLS, HOSTS) == {
        "celery": {"default": HOSTS},
        "mail": {"default": HOSTS},
        "ml": {"ml": ["worker2"]},
    }


def test_a_sound_route_has_no_problem() -> None:
    routes = [ROUTE, {"task": "orders.tasks.send", "queue": "mail", "priority": 9}]
    assert route_problems(routes, POOLS, HOSTS) == []


def test_routes_keep_their_order_and_lose_what_is_not_set() -> None:
    text = task_routes([ROUTE, {"task": "a.*", "queue": "mail", "priority": None}])
    assert list(json.loads(text).items()) == [
        ("orders.tasks.train_*", {"queue": "ml"}),
        ("a.*", {"queue": "mail"}),
    ]
    assert task_routes([]) == "{}\n"


@pytest.mark.parametrize(
    "routes, words",
    [
        ("orders.*", ["celery_routes is no list"]),
        (["orders.*"], ["celery_routes[0]", "no mapping"]),
        ([{**ROUTE, "queues": "ml"}], ["queues", "Did you mean queue?"]),
        ([{"queue": "ml"}], ["task = null", "orders.tasks.train_*"]),
        ([{"task": "a b", "queue": "ml"}], ["names no task"]),
        ([{"task": "a"}], ["queue = null"]),
        ([{**ROUTE, "queue": "m,l"}], ["-Q"]),
        ([{**ROUTE, "priority": 10}], ["priority = 10", "from 0 to 9"]),
        ([{**ROUTE, "priority": True}], ["priority = true"]),
        ([ROUTE, {**ROUTE, "queue": "mail"}], ["celery_routes[1]", "celery_routes[0]", "one route"]),
    ],
)
def test_a_route_that_is_none(routes: Any, words: list[str]) -> None:
    (problem,) = rules.route_problems(routes)
    assert not [word for word in words if word not in problem], problem


@pytest.mark.parametrize(
    "queue, words",
    [
        ("mll", ["celery_routes[0]", "orders.tasks.train_*", "no pool", "Did you mean ml?"]),
        ("video", ["no pool", "Consumed are: celery, mail, ml"]),
        ("attic", ["only the pool old", "nodes: 0"]),
    ],
)
def test_a_queue_that_nobody_consumes(queue: str, words: list[str]) -> None:
    (problem,) = route_problems([{**ROUTE, "queue": queue}], POOLS, HOSTS)
    assert not [word for word in words if word not in problem], problem


def test_routes_among_the_settings_are_judged_where_they_are_plain() -> None:
    settings = {"task_routes": {"a": {"queue": "nowhere"}, "b": "ml", "c": {"exchange": "x"}}}
    (problem,) = route_problems([], POOLS, HOSTS, settings)
    assert "celery_settings['task_routes'] sends a to the queue nowhere" in problem
    assert route_problems([], POOLS, HOSTS, {"task_routes": ["shop.routers.Router"]}) == []


def test_pools_that_cannot_work_are_judged_elsewhere() -> None:
    assert route_problems([ROUTE], [{"name": "x"}], HOSTS) == []
