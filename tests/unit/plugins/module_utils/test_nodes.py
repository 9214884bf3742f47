from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import longest_task
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.specs import (
    PoolError,
    node_environment,
    node_limits,
    node_specs,
    node_wants,
)

POOLS: list[dict[str, Any]] = [
    {
        "name": "default",
        "queues": ["celery"],
        "autoscale": {"min": 1, "max": 8},
        "max_memory_per_child": "400MB",
        "time_limit": "30m",
    },
    {"name": "ml", "queues": ["ml", "gpu"], "concurrency": 2, "nodes": 2, "hosts": ["w2"]},
]


def specs(host: str = "w2", pools: Any = POOLS, **more: Any) -> dict[str, dict[str, Any]]:
    return {spec["name"]: spec for spec in node_specs(pools, host, "/var/lib/celery/shop", **more)}


def only(**keys: Any) -> dict[str, Any]:
    (spec,) = specs(pools=[{"name": "p", "queues": ["q"], **keys}]).values()
    return spec


def test_a_pool_gives_its_nodes_on_the_hosts_it_names() -> None:
    assert list(specs("w1")) == ["default-1"]
    assert list(specs("w2")) == ["default-1", "ml-1", "ml-2"]
    assert specs("w2")["ml-2"]["nodename"] == "ml-2@w2"


def test_no_nodes_for_a_pool_that_is_stood_down() -> None:
    assert specs(pools=[{"name": "p", "queues": ["q"], "nodes": 0}]) == {}


def test_the_command_line_says_what_the_pool_says() -> None:
    assert specs()["default-1"]["argv"] == [
        *("worker", "-n", "default-1@w2", "-Q", "celery", "-O", "fair", "--autoscale=8,1"),
        *("--prefetch-multiplier=1", "--max-memory-per-child=390625", "--time-limit=1800"),
        *("-l", "INFO", "-E", "--statedb=/var/lib/celery/shop/default-1.db"),
    ]
    assert specs()["ml-1"]["argv"][:9] == ["worker", "-n", "ml-1@w2", "-Q", "ml,gpu", "-O", "fair", "-c", "2"]


def test_another_pool_class_has_neither_prefork_options_nor_a_watchdog_when_solo() -> None:
    solo = only(pool="solo")
    assert solo["argv"][5:7] == ["-P", "solo"]
    assert "-O" not in solo["argv"]
    assert solo["watchdog"] == 0
    assert only(pool="threads")["watchdog"] == 60


def test_what_has_no_option_becomes_a_setting_of_the_node() -> None:
    assert only()["settings"] == {}
    found = only(
        events=False, log_format="%(message)s", max_tasks_per_child=0, settings={"task_track_started": False}
    )
    assert found["settings"] == {
        "task_track_started": False,
        "worker_log_format": "%(message)s",
        "worker_max_tasks_per_child": None,
        "worker_send_task_events": False,
    }
    assert "-E" not in found["argv"]
    # billiard takes 0 for "replace the process before its first task".
    assert not any(word.startswith("--max-tasks-per-child") for word in found["argv"])


def test_limits_are_in_the_words_of_systemd() -> None:
    found = only(memory_max="2GB", memory_high="1.5GiB", cpu_quota="150%")
    assert found["limits"] == {"memory_max": "2000000000", "memory_high": "1610612736", "cpu_quota": "150%"}


def test_times_are_whole_seconds() -> None:
    found = only(watchdog="10500ms", start_timeout="1500ms", time_limit="1m", soft_time_limit="30500ms")
    assert (found["watchdog"], found["start_timeout"], found["stop_timeout"]) == (11, 2, 90)
    assert "--soft-time-limit=30.5" in found["argv"]


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 3},
        {"environment": {"A": "c"}},
        {"settings": {"task_acks_late": False}},
        {"memory_max": "1GB"},
        {"watchdog": "90s"},
        {"queues": ["q", "r"]},
    ],
)
def test_a_change_of_what_a_process_is_started_from_is_a_new_fingerprint(changes: dict[str, Any]) -> None:
    assert (
        only(environment={"A": "b"})["fingerprint"]
        != only(**{"environment": {"A": "b"}, **changes})["fingerprint"]
    )


@pytest.mark.parametrize(
    "changes", [{"stop_timeout": "2h"}, {"start_timeout": "5m"}, {"nodes": 1}, {"hosts": ["w2"]}]
)
def test_a_change_of_how_a_process_is_kept_is_not(changes: dict[str, Any]) -> None:
    assert only()["fingerprint"] == only(**changes)["fingerprint"]


def test_other_limits_of_the_autoscaler_are_no_new_fingerprint_but_an_autoscaler_is() -> None:
    narrow, wide = (
        only(autoscale={"min": 1, "max": top, "memory_reserve": f"{top}MB"})["fingerprint"] for top in (4, 8)
    )
    assert narrow == wide != only(concurrency=4)["fingerprint"]


def test_the_identity_is_part_of_every_fingerprint() -> None:
    first, second = (specs(identity={"release": release}) for release in ("1", "2"))
    assert all(first[name]["fingerprint"] != second[name]["fingerprint"] for name in first)
    assert first == specs(identity={"release": "1"})


def test_nodes_of_one_pool_differ_in_their_fingerprints() -> None:
    assert specs()["ml-1"]["fingerprint"] != specs()["ml-2"]["fingerprint"]


def test_pools_that_cannot_work_are_refused_with_every_problem() -> None:
    with pytest.raises(PoolError) as caught:
        specs(pools=[{"name": "p", "queues": [], "concurrency": 0}])
    assert len(str(caught.value).splitlines()) == 2


def test_the_environment_of_a_node_says_who_it_is() -> None:
    spec = only(environment={"A": "b"}, log_format="%(message)s")
    found = node_environment(spec, "1.4.0", "/etc/celery/shop")
    assert json.loads(found.pop("CELERYOPS_NODE_SETTINGS")) == {
        "settings": {"worker_log_format": "%(message)s"}
    }
    assert found == {
        "A": "b",
        "CELERYOPS_FINGERPRINT": spec["fingerprint"],
        "CELERYOPS_NODE": "p-1",
        "CELERYOPS_POOL": "p",
        "CELERYOPS_RELEASE": "1.4.0",
    }


def test_an_autoscaled_node_knows_the_file_of_its_limits() -> None:
    found = node_environment(only(autoscale={"min": 1, "max": 2}), "1.4.0", "/etc/celery/shop")
    assert found["CELERYOPS_AUTOSCALE_FILE"] == "/etc/celery/shop/nodes/p-1.autoscale.json"


def test_celery_nodes_gets_what_it_asks_for() -> None:
    wanted = {"name", "nodename", "fingerprint", "start_timeout", "stop_timeout"}
    assert [set(node) for node in node_wants(list(specs().values()))] == [wanted] * 3


def test_the_longest_task_of_all_pools() -> None:
    assert longest_task(POOLS) == 1800
    assert longest_task(POOLS, "2h") == 7200
    assert longest_task([{"time_limit": None}], "2h") == 0
    assert longest_task([]) == 0


def test_celery_autoscaler_gets_the_nodes_that_have_one() -> None:
    assert node_limits(list(specs().values())) == [
        {"name": "default-1", "nodename": "default-1@w2", "limits": {"min": 1, "max": 8}}
    ]
