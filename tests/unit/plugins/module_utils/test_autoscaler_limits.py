from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.autoscaler import limits, live
from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.keys import written


def node(name: str = "n-1", **keys: Any) -> limits.Node:
    given: dict[str, Any] = {"written": None, "running": None, "wanted": {"min": 1, "max": 4}, **keys}
    return limits.Node(name, f"{name}@h", **given)


def test_limits_are_read_with_their_units() -> None:
    asked = {"max": "12", "memory_reserve": "1GB", "load_per_cpu": "1.5", "psi_io": "0", "idle": "1m"}
    wanted = {"max": 12, "memory_reserve": 10**9, "load_per_cpu": 1.5, "psi_io": 0.0, "idle": 60}
    assert limits.read({"a-1@h": asked, "a-2@h": {}}) == ({"a-1@h": wanted, "a-2@h": {}}, [])


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"memory_reserve": 512}, ["a-1@h: memory_reserve = 512 has no unit", "400MB"]),
        ({"psi_io": 20}, ["a-1@h: psi_io = 20 is no share of time", "10%"]),
        ({"memroy_reserve": "1GB"}, ["a-1@h: memroy_reserve = '1GB' is no limit", "Write memory_reserve"]),
        ({"max": 0}, ["a-1@h: max = 0 is below 1"]),
        ({"child_memory": "0"}, ["a-1@h: child_memory = '0' is zero"]),
    ],
)
def test_limits_that_cannot_be_read_are_named_with_their_node(
    asked: dict[str, Any], words: list[str]
) -> None:
    (problem,) = limits.read({"a-1@h": asked})[1]
    assert all(word in problem for word in words), problem


def test_what_the_role_gives_is_read_as_the_inventory_meant_it() -> None:
    checked = {
        "min": 0,
        "max": 4,
        "memory_reserve": 0,
        "child_memory": 64 * 10**6,
        "load_per_cpu": 1.5,
        "psi_memory": 12.5,
        "psi_cpu": 0.0,
        "backlog": 2,
        "queue_wait": 0.25,
        "cooldown": 0,
        "idle": 3600,
    }
    assert limits.read({"a-1@h": written(checked)}) == ({"a-1@h": checked}, [])


def test_a_record_says_by_which_limits_a_node_goes() -> None:
    two = {"min": 1, "max": 4}
    given = {**two, "psi_io": 5.0}
    assert limits.of_record({"autoscale": two, "autoscaler": {"given": given, "reason": "steady"}}) == given
    assert limits.of_record({"autoscale": two}) == two
    assert limits.of_record({}) == {}


def test_given_limits_replace_all_or_join_what_the_file_says() -> None:
    written = {"min": 1, "max": 4, "psi_io": 20.0}
    assert limits.merged(written, {"max": 8}, keep_others=True) == {"min": 1, "max": 8, "psi_io": 20.0}
    assert limits.merged(written, {"min": 2, "max": 8}, keep_others=False) == {"min": 2, "max": 8}
    assert limits.merged(None, {"max": 8}, keep_others=True) == {"max": 8}


@pytest.mark.parametrize(
    "wanted, words",
    [
        ({"max": 8}, ["n-1@h", "no min", "celery_worker_pools"]),
        ({}, ["no min and no max"]),
        ({"min": 9, "max": 8}, ["min 9 above max 8"]),
        ({"min": 1, "max": 8, "memory_reserve": 2000}, ["memory_reserve of 2000", "1000 bytes in all"]),
    ],
)
def test_limits_that_cannot_be(wanted: dict[str, Any], words: list[str]) -> None:
    (problem,) = limits.problems([node(wanted=wanted)], 1000)
    assert all(word in problem for word in words), problem


def test_sound_limits_and_a_host_of_unknown_size() -> None:
    assert limits.problems([node(wanted={"min": 1, "max": 1, "memory_reserve": 999})], 1000) == []
    assert limits.problems([node(wanted={"min": 1, "max": 1, "memory_reserve": 10**12})], 0) == []


def test_nodes_with_the_same_new_limits_are_told_together_and_others_not_at_all() -> None:
    same = {"min": 1, "max": 4}
    nodes = [
        node("a-1", running={"min": 1, "max": 8}),
        node("a-2", running={}),
        node("a-3", running=dict(same)),
        node("a-4"),
        node("b-1", running=dict(same), wanted={"min": 2, "max": 4}),
    ]
    assert limits.batches(nodes) == [(same, ["a-1@h", "a-2@h"]), ({"min": 2, "max": 4}, ["b-1@h"])]


def test_the_account_names_who_has_changed_and_who_has_not() -> None:
    said = limits.account(["a-1@h"], {"a-2@h": "has not answered"})
    assert said == "a-2@h: has not answered Changed already: a-1@h."
    assert "No running node was changed" in limits.account([], {"a-2@h": "x"})


def test_an_answer_among_what_the_application_prints() -> None:
    out = 'loading {models}\n{"nodes": {"a@h": {}, "b@h": {}}, "errors": {"b@h": "no"}, "silent": ["c@h"]}'
    assert live.parse(Result(0, out, ""), ["a@h", "b@h", "c@h"]) == live.Answer(
        ["a@h"], {"b@h": "no"}, ["c@h"]
    )


def test_no_answer_names_the_nodes_and_what_was_said() -> None:
    with pytest.raises(live.AskError, match=r"a@h cannot be told.*ended with 2.*No such command"):
        live.parse(Result(2, "", "Error: No such command 'autoscale'."), ["a@h"])


def test_memory_of_this_host() -> None:
    assert live.memory_total() > 100_000_000
    assert live.memory_total("/nonexistent") == 0
