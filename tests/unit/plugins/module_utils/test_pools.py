from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import check_pools


def one(**keys: Any) -> list[dict[str, Any]]:
    return [{"name": "ml", "queues": ["ml"], **keys}]


def problems(pools: Any, **context: Any) -> list[str]:
    return check_pools(pools, **context)[1]


def pool(defaults: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    checked, found = check_pools(one(**keys), defaults)
    assert found == []
    return checked[0]


def test_a_pool_needs_only_a_name_and_queues() -> None:
    found = pool()
    assert found["pool"] == "prefork"
    assert found["nodes"] == 1
    assert found["prefetch_multiplier"] == 1
    assert "concurrency" not in found and "autoscale" not in found


def test_every_key_is_understood() -> None:
    keys = {
        "nodes": 2,
        "concurrency": 4,
        "pool": "prefork",
        "optimization": "fair",
        "prefetch_multiplier": 2,
        "max_tasks_per_child": 100,
        "max_memory_per_child": "400MB",
        "soft_time_limit": "25m",
        "time_limit": "30m",
        "log_level": "debug",
        "log_format": "%(message)s",
        "task_log_format": "%(message)s",
        "events": False,
        "environment": {"A": "b"},
        "settings": {"task_acks_late": False},
        "memory_max": "2GB",
        "memory_high": "1GB",
        "cpu_quota": "150%",
        "hosts": ["h1"],
        "watchdog": "30s",
        "start_timeout": "1m",
        "stop_timeout": "1h",
        "extra_args": ["--without-gossip"],
    }
    found = pool(**keys)
    assert found["max_memory_per_child"] == 400_000_000
    assert found["time_limit"] == 1800
    assert found["log_level"] == "DEBUG"


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"concurency": 2}, ["concurency", "Did you mean concurrency?"]),
        ({"zzz": 2}, ["zzz", "Use the keys name, queues"]),
        ({"autoscale": {"min": 8, "max": 2}}, ["autoscale", "min 8 above max 2"]),
        ({"autoscale": {"min": 1}}, ["autoscale", "has no max"]),
        ({"autoscale": {"min": 1, "max": 2, "mid": 1}}, ["autoscale", "mid = 1 is no limit", "Write min"]),
        ({"autoscale": {"min": 1, "max": 2, "memory_reserve": 512}}, ["memory_reserve = 512", "has no unit"]),
        ({"autoscale": {"min": 1, "max": 2, "child_memory": 0}}, ["child_memory = 0", "is zero"]),
        ({"autoscale": {"min": 1, "max": 2, "psi_memory": 10}}, ["psi_memory = 10", '"10%"']),
        ({"autoscale": {"min": 1, "max": 2, "psi_io": "200%"}}, ["psi_io = '200%'", "above 100%"]),
        ({"autoscale": {"min": 1, "max": 2, "load_per_cpu": "high"}}, ["load_per_cpu = 'high'", "no number"]),
        ({"autoscale": {"min": 1, "max": 2, "queue_wait": "30"}}, ["queue_wait = '30'", "has no unit"]),
        ({"autoscale": {"min": 0, "max": 0}}, ["autoscale", "below 1"]),
        ({"autoscale": {"min": 1, "max": 2}, "concurrency": 2}, ["both concurrency = 2 and autoscale"]),
        ({"concurrency": 0}, ["concurrency = 0", "below 1"]),
        ({"concurrency": "many"}, ['"many"', "whole number"]),
        ({"concurrency": True}, ["concurrency = true"]),
        ({"nodes": -1}, ["nodes = -1"]),
        ({"prefetch_multiplier": 0}, ["prefetch_multiplier = 0"]),
        ({"time_limit": 30}, ["time_limit = 30", "has no unit", "30m"]),
        ({"max_memory_per_child": 400000}, ["max_memory_per_child = 400000", "has no unit"]),
        ({"memory_max": "2G"}, ["2GB (thousands)", "2GiB (1024s)"]),
        ({"soft_time_limit": "30m", "time_limit": "30m"}, ["soft_time_limit", "not below time_limit"]),
        ({"time_limit": "30m", "stop_timeout": "10s"}, ["stop_timeout of 10 s", "shorter than time_limit"]),
        ({"memory_high": "2GB", "memory_max": "1GB"}, ["memory_high", "above memory_max"]),
        ({"cpu_quota": 1.5}, ["cpu_quota = 1.5", "150%"]),
        ({"log_level": "LOUD"}, ["LOUD", "DEBUG, INFO"]),
        ({"pool": "fork"}, ["fork", "prefork, threads"]),
        ({"pool": "threads", "autoscale": {"min": 1, "max": 2}}, ["autoscale", "no effect", "pool: prefork"]),
        ({"pool": "solo", "concurrency": 2}, ["concurrency", "solo"]),
        ({"pool": "gevent", "soft_time_limit": "1m"}, ["soft_time_limit", "gevent"]),
        ({"pool": "threads", "max_tasks_per_child": 5}, ["max_tasks_per_child", "threads"]),
        ({"events": "yes"}, ["events", "true or false"]),
        ({"environment": ["A=b"]}, ["environment", "no mapping"]),
        ({"environment": {"CELERYOPS_NODE": "x"}}, ["CELERYOPS_NODE", "set by the collection"]),
        ({"watchdog": "2s"}, ["watchdog", "shorter than 10 s"]),
        ({"start_timeout": "0"}, ["start_timeout", "shorter than 1 s"]),
        ({"extra_args": "--without-gossip"}, ["extra_args", "no list"]),
        ({"extra_args": ["-B"]}, ["extra_args", "beat inside a worker"]),
        ({"extra_args": ["--concurrency=4"]}, ["extra_args", "set concurrency"]),
        ({"hosts": ["h9"]}, ["hosts", '"h9"', "no worker host"]),
        ({"name": "ML"}, ["name", "lower-case"]),
        ({"name": "a b"}, ["name"]),
        ({"name": "x" * 64}, ["longer than 63"]),
        ({"name": None}, ["has no name"]),
        ({"queues": []}, ["queues", "empty"]),
        ({"queues": "ml"}, ["queues", "no list"]),
        ({"queues": ["a,b"]}, ["a,b", "commas"]),
        ({"queues": ["a", "a"]}, ["twice"]),
        ({"queues": [5]}, ["no queue name"]),
    ],
)
def test_each_problem_names_the_pool_the_value_and_the_remedy(keys: dict[str, Any], words: list[str]) -> None:
    found = problems(one(**keys), hosts=["h1", "h2"])
    assert len(found) == 1, found
    assert found[0].startswith("celery_worker_pools[0]")
    assert found[0].endswith((".", "?"))
    assert all(word in found[0] for word in words), found


def test_all_problems_come_at_once() -> None:
    pools = [*one(concurrency=0, time_limit=5), "text", {"queues": ["a"]}]
    found = problems(pools)
    assert [text.split()[0].rstrip(":") for text in found] == [
        "celery_worker_pools[0]",
        "celery_worker_pools[0]",
        "celery_worker_pools[1]",
        "celery_worker_pools[2]",
    ]


def test_two_pools_of_one_name_are_refused() -> None:
    found = problems([*one(), {"name": "b", "queues": ["b"]}, *one()])
    assert len(found) == 1
    assert "celery_worker_pools[0] and celery_worker_pools[2] are both named ml" in found[0]


@pytest.mark.parametrize(
    "pools, reason", [(None, "no list"), ({}, "no list"), ([], "empty"), ([5], "no mapping")]
)
def test_what_is_no_list_of_pools_is_refused(pools: Any, reason: str) -> None:
    assert reason in problems(pools)[0]


@pytest.mark.parametrize("key, value", [("memory_max", "1GB"), ("memory_high", "1GB"), ("cpu_quota", "50%")])
def test_limits_need_systemd(key: str, value: str) -> None:
    found = problems(one(**{key: value}), manager="multi")
    assert len(found) == 1
    assert "needs systemd" in found[0] and "max_memory_per_child" in found[0]


def test_an_inventory_name_that_no_node_can_bear_is_refused() -> None:
    assert "ansible_host" in problems(one(), hosts=["deploy@h1"])[0]


def test_secret_values_of_an_environment_are_not_shown() -> None:
    found = problems(one(environment={"TOKEN": "hunter2\n", "B": True}))
    assert len(found) == 2
    assert "hunter2" not in " ".join(found)


# role-wide values


def test_role_wide_values_fill_what_a_pool_leaves_out() -> None:
    defaults = {"time_limit": "30m", "concurrency": 3, "log_level": "WARNING"}
    assert pool(defaults)["concurrency"] == 3
    assert pool(defaults)["time_limit"] == 1800
    assert pool(defaults, concurrency=5, log_level="ERROR")["concurrency"] == 5


def test_the_guards_of_an_autoscaler_come_in_bytes_seconds_and_percents() -> None:
    written = {"memory_reserve": "512MB", "psi_memory": "10%", "queue_wait": "1m", "load_per_cpu": "1.5"}
    assert pool(autoscale={"min": 1, "max": 8, **written})["autoscale"] == {
        "min": 1,
        "max": 8,
        "memory_reserve": 512_000_000,
        "psi_memory": 10.0,
        "queue_wait": 60,
        "load_per_cpu": 1.5,
    }


def test_an_own_autoscale_replaces_a_role_wide_concurrency_and_the_other_way() -> None:
    assert "concurrency" not in pool({"concurrency": 3}, autoscale={"min": 1, "max": 2})
    assert "autoscale" not in pool({"autoscale": {"min": 1, "max": 2}}, concurrency=3)


def test_null_lifts_a_role_wide_value() -> None:
    assert pool({"time_limit": "30m"}, time_limit=None)["time_limit"] is None


def test_empty_role_wide_values_count_as_not_set() -> None:
    empty = {"concurrency": 0, "autoscale": {}, "time_limit": "", "memory_max": "", "extra_args": []}
    assert pool(empty) == pool()


def test_environments_and_settings_are_merged_other_values_replaced() -> None:
    defaults = {"environment": {"A": "1", "B": "1"}, "extra_args": ["--without-gossip"]}
    found = pool(defaults, environment={"B": "2"}, extra_args=["--without-mingle"])
    assert found["environment"] == {"A": "1", "B": "2"}
    assert found["extra_args"] == ["--without-mingle"]


def test_role_wide_values_that_a_class_cannot_use_are_left_out_in_silence() -> None:
    found = pool({"max_tasks_per_child": 1000, "time_limit": "30m", "optimization": "fair"}, pool="threads")
    assert not {"max_tasks_per_child", "time_limit", "optimization"} & set(found)


def test_problems_of_role_wide_values_name_the_variable() -> None:
    found = problems(one(), defaults={"time_limit": 30, "concurrency": 2, "autoscale": {"min": 1, "max": 2}})
    assert found[0].startswith("celery_worker_time_limit = 30 has no unit")
    assert "celery_worker_concurrency = 2 and celery_worker_autoscale are both set" in found[1]


def test_stop_timeout_follows_the_time_limit() -> None:
    assert pool(time_limit="30m")["stop_timeout"] == 1830
    assert pool()["stop_timeout"] == 3600
    assert pool(time_limit=0)["stop_timeout"] == 3600
    assert pool(time_limit="30m", stop_timeout="2h")["stop_timeout"] == 7200
