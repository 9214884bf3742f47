from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import reconcile
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import (
    ADOPT,
    FAILED,
    KEEP,
    REMOVE,
    RESTART,
    RUNNING,
    START,
    STARTING,
    STOPPED,
    STOPPING,
    Observed,
    Outcome,
    Wanted,
    plan,
)

A, B = "a" * 16, "b" * 16


def seen(pid: int = 11, fingerprint: str | None = A, state: str = RUNNING, **more: Any) -> Observed:
    return Observed("n-1", pid, fingerprint, state, **more)


@pytest.mark.parametrize(
    "observed, action, reason",
    [
        pytest.param([], START, "is not running", id="nothing is there"),
        pytest.param([seen(0, None, STOPPED)], START, "is not running", id="only files are there"),
        pytest.param([seen()], KEEP, "", id="runs as wanted"),
        pytest.param([seen(state=STARTING)], KEEP, "", id="someone is starting it as wanted"),
        pytest.param([seen(fingerprint=B)], RESTART, f"runs {B}, {A} is wanted", id="runs otherwise"),
        pytest.param(
            [seen(fingerprint=None)],
            RESTART,
            f"runs with no fingerprint, {A} is wanted",
            id="older layout",
        ),
        pytest.param([seen(state=STOPPING)], RESTART, "is stopping", id="is being stopped"),
        pytest.param([seen(0, None, FAILED, detail="exit-code")], START, "exit-code", id="failed, told why"),
        pytest.param([seen(0, None, FAILED)], START, "has failed", id="failed, not told why"),
        pytest.param(
            [seen(home=False)],
            ADOPT,
            "process 11 runs outside its manager",
            id="right, but its pidfile is lost",
        ),
        pytest.param(
            [seen(home=False, fingerprint=B)],
            RESTART,
            "process 11 runs outside its manager",
            id="wrong, and its pidfile is lost",
        ),
        pytest.param(
            [seen(home=False, detail="runs outside x.service")],
            RESTART,
            "runs outside x.service",
            id="right, but in the wrong place",
        ),
        pytest.param(
            [seen(home=False, state=STOPPING)],
            RESTART,
            "process 11 runs outside its manager",
            id="a stray that stops is not worth adopting",
        ),
        pytest.param(
            [seen(11), seen(12, home=False)],
            RESTART,
            "process 12 runs outside its manager",
            id="two of one name",
        ),
        pytest.param(
            [seen(11, home=False), seen(12, home=False)],
            RESTART,
            "process 11 runs outside its manager",
            id="two strays",
        ),
    ],
)
def test_what_becomes_of_a_wanted_node(observed: list[Observed], action: str, reason: str) -> None:
    (step,) = plan([Wanted("n-1", A)], observed)
    assert (step.action, step.reason) == (action, reason)
    assert step.changes is (action != KEEP)


def test_a_running_node_that_would_not_come_up_at_boot_is_enabled_without_a_restart() -> None:
    (step,) = plan([Wanted("n-1", A)], [seen(enabled=False)])
    assert step.action == KEEP and step.enable and step.changes
    assert reconcile.predicted([step]).lists() == _lists(enabled=["n-1"])


def test_a_node_that_is_restarted_anyway_is_not_reported_as_enabled() -> None:
    (step,) = plan([Wanted("n-1", B)], [seen(enabled=False)])
    assert step.action == RESTART and not step.enable


def test_what_is_not_listed_goes_whether_it_runs_or_has_only_left_files() -> None:
    steps = plan([], [seen(), Observed("z-1", traces=("/etc/z",))])
    assert [(step.name, step.action) for step in steps] == [("n-1", REMOVE), ("z-1", REMOVE)]
    outcome = reconcile.predicted(steps)
    assert outcome.lists() == _lists(removed=["n-1", "z-1"], stopped=["n-1"])


def test_wanted_nodes_come_first_and_in_their_order() -> None:
    wanted = [Wanted("z-1", A), Wanted("a-1", A)]
    steps = plan(wanted, [Observed("m-1", 1, A, RUNNING), Observed("a-1", 2, A, RUNNING)])
    assert [step.name for step in steps] == ["z-1", "a-1", "m-1"]


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="node n-1 is listed twice"):
        plan([Wanted("n-1", A), Wanted("n-1", B)], [])


@pytest.mark.parametrize(
    "wanted, observed, before, after",
    [
        ([Wanted("n-1", A)], [], "not running", A),
        ([Wanted("n-1", A)], [seen(0, None, STOPPED)], "not running", A),
        ([Wanted("n-1", A)], [seen()], A, A),
        ([Wanted("n-1", B)], [seen()], A, B),
        ([Wanted("n-1", A)], [seen(fingerprint=None)], "no fingerprint", A),
        ([Wanted("n-1", A)], [seen(0, None, FAILED)], "failed", A),
        ([Wanted("n-1", A)], [seen(enabled=False)], f"{A}, not enabled", A),
        ([Wanted("n-1", A)], [seen(state=STOPPING)], f"{A}, stopping", A),
        ([Wanted("n-1", A)], [seen(home=False)], f"{A}, outside its manager", A),
        ([], [seen()], A, "absent"),
        ([], [Observed("n-1", traces=("/etc/n",))], "not running", "absent"),
    ],
)
def test_the_diff(wanted: list[Wanted], observed: list[Observed], before: str, after: str) -> None:
    assert reconcile.difference(plan(wanted, observed)) == {
        "before": {"n-1": before},
        "after": {"n-1": after},
    }


def test_the_diff_is_empty_exactly_when_nothing_changes() -> None:
    for one in ([seen()], [seen(state=STARTING)]):
        steps = plan([Wanted("n-1", A)], one)
        diff = reconcile.difference(steps)
        assert diff["before"] == diff["after"]
        assert not reconcile.predicted(steps).changed


def test_a_node_that_moves_between_managers_was_restarted() -> None:
    outcome = Outcome(started=["n-1", "n-2"], removed=["n-1", "old-1"], stopped=["n-1", "old-1"])
    outcome.join_moves()
    assert outcome.lists() == _lists(started=["n-2"], restarted=["n-1"], removed=["old-1"], stopped=["old-1"])


def test_outcomes_add_up() -> None:
    outcome = Outcome(started=["a"], warnings=["w"])
    outcome.add(Outcome(started=["b"], reloaded=True, failures=["f"]))
    assert outcome.started == ["a", "b"] and outcome.failures == ["f"] and outcome.reloaded


@pytest.mark.parametrize(
    "field", ["started", "restarted", "adopted", "enabled", "stopped", "removed", "other"]
)
def test_every_kind_of_act_is_a_change(field: str) -> None:
    assert Outcome(**{field: ["n-1"]}).changed


def test_reading_unit_files_again_is_no_change() -> None:
    assert not Outcome(reloaded=True, warnings=["w"]).changed


def _lists(**given: list[str]) -> dict[str, list[str]]:
    names = ("started", "restarted", "adopted", "enabled", "stopped", "removed")
    return {name: given.get(name, []) for name in names}
