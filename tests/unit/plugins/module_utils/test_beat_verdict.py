# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether exactly one beat sends, and where it shall."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.beat import verdict
from ansible_collections.celeryops.fleet.plugins.module_utils.beat.shown import beat_report
from ansible_collections.celeryops.fleet.plugins.module_utils.beat.verdict import NOTHING, Wanted

PINNED = {"mode": "pinned", "host": "w2"}
PREFERRED = {"mode": "preferred", "host": "w2"}


def candidate(host: str, state: str = "standby", **more: Any) -> dict[str, Any]:
    return {
        "host": host,
        "state": state,
        "pid": 7,
        "fit": True,
        "age": 0.4,
        "tick_age": 0.1,
        "clock_offset": 0.0,
        "fingerprint": "new",
        "release": "r1",
        "trouble": "",
        **more,
    }


def report(*candidates: dict[str, Any], holder: str = "w1", **more: Any) -> dict[str, Any]:
    """w1 sends and w2 stands by, unless it is said otherwise."""
    given = candidates or (candidate("w1", "holder"), candidate("w2"))
    lease = {"host": holder, "epoch": 3} if holder else None
    return {**NOTHING, "epoch": 3, "lease": lease, "candidates": list(given), **more}


def found(one: dict[str, Any], **wanted: Any) -> list[str]:
    return verdict.problems(one, Wanted(**{"candidates": ("w1", "w2"), **wanted}))


def test_one_sends_and_the_other_stands_by() -> None:
    records = [{"host": host, "node": f"beat@{host}", "lease": {"state": "x"}} for host in ("w1", "w2")]
    assert found(report(beats=records), fingerprints={"w1": "new", "w2": "new"}) == []


def test_a_single_candidate() -> None:
    assert found(report(candidate("w1", "holder")), candidates=("w1",)) == []


@pytest.mark.parametrize(
    "one, says",
    [
        (report(candidate("w1"), candidate("w2"), holder=""), "No host has the lease of beat"),
        (report(candidate("w1", "holder")), "The beat of w2 says nothing of itself in Redis"),
        (report(candidate("w1", "holder"), candidate("w2", "holder")), "is holder, and should be standby"),
        (report(candidate("w1", "promoting"), candidate("w2")), "is promoting, and should be holder"),
        (
            report(candidate("w1", "holder", trouble="no schedule"), candidate("w2")),
            "in trouble: no schedule",
        ),
        (report(candidate("w1", "holder", tick_age=44.0), candidate("w2")), "has not ticked for 44 s"),
        (report(candidate("w1", "holder"), candidate("w2", clock_offset=-9.04)), "9.0 s behind Redis' clock"),
        (
            report(candidate("w1", "holder"), candidate("w2"), candidate("w9")),
            "of w9 (pid 7) runs and would take",
        ),
    ],
)
def test_what_is_wrong_is_named(one: dict[str, Any], says: str) -> None:
    (problem,) = found(one)
    assert says in problem
    assert problem.endswith(".")


def test_a_host_that_is_no_candidate_sends() -> None:
    one = report(candidate("w1"), candidate("w2"), candidate("w9", "holder"), holder="w9")
    (problem,) = found(one)
    assert "The beat of w9 (pid 7) runs and sends, and w9 is no candidate" in problem
    assert "pin beat on another host" in problem


def test_who_runs_other_settings_than_it_should() -> None:
    one = report(candidate("w1", "holder", fingerprint="old"), candidate("w2"))
    (problem,) = found(one, fingerprints={"w1": "new", "w2": "new"})
    assert "still runs settings old, not new" in problem
    assert found(one, fingerprints={"w2": "new"}) == []


@pytest.mark.parametrize("host, remedy", [("w2", "Deploy to that host"), ("w9", "Stop it")])
def test_a_beat_that_knows_no_lease(host: str, remedy: str) -> None:
    (problem,) = found(report(beats=[{"host": host, "node": f"beat@{host}", "pid": 8}]))
    assert f"beat@{host} on {host} (pid 8) is a beat that knows no lease" in problem
    assert remedy in problem


@pytest.mark.parametrize(
    "place, one, problems",
    [
        (PINNED, report(), 1),
        (PREFERRED, report(), 1),
        (PREFERRED, report(candidate("w1", "holder"), candidate("w2", fit=False)), 0),
        (PINNED, report(candidate("w1"), candidate("w2", "holder"), holder="w2"), 0),
        (PREFERRED, report(candidate("w1"), candidate("w2", "holder"), holder="w2"), 0),
    ],
    ids=[
        "pinned elsewhere",
        "preferred elsewhere",
        "the preferred one is unfit",
        "pinned here",
        "preferred here",
    ],
)
def test_where_beat_shall_send_from(place: dict[str, str], one: dict[str, Any], problems: int) -> None:
    assert len(found(one, place=place)) == problems


def test_of_a_host_that_is_not_seen_nothing_is_asked() -> None:
    alone = report(candidate("w1", "holder", fingerprint="old", tick_age=99.0))
    assert found(alone, unseen=frozenset({"w1", "w2"}), fingerprints={"w2": "new"}) == []


def test_pinned_on_a_host_that_is_not_seen_and_does_not_send() -> None:
    one = report(candidate("w1"), holder="")
    wanted = Wanted(("w1", "w2"), unseen=frozenset({"w2"}), place=PINNED)
    assert verdict.problems(one, wanted) == []
    (warning,) = verdict.warnings(one, wanted)
    assert "No beat sends: it is pinned on w2, which this run does not see" in warning


def test_what_is_not_wrong_and_worth_knowing() -> None:
    assert verdict.warnings(report(), Wanted(("w1", "w2"))) == []
    (warning,) = verdict.warnings(report(persistent=False, server="redis 7.0"), Wanted(("w1", "w2")))
    assert "redis 7.0 stores nothing on disk" in warning and "appendonly" in warning
    hidden = report(candidate("w1", "holder"), candidate("w9"))
    (warning,) = verdict.warnings(hidden, Wanted(("w1",), unseen=frozenset({"w9"})))
    assert "w9 runs a beat and is no candidate" in warning


def test_whether_a_host_that_has_left_has_left_anything() -> None:
    assert verdict.left_behind(report(), ["w9"]) == []
    assert "has not ended" in verdict.left_behind(report(), ["w2"])[0]
    (problem,) = verdict.left_behind(report(candidate("w2"), holder="w9"), ["w9"])
    assert "has the lease" in problem
    assert verdict.touches(report(), ["w2"]) and verdict.touches(report(holder="w9"), ["w9"])
    assert verdict.touches(report(place={"mode": "pinned", "host": "w9"}), ["w9"])
    assert not verdict.touches(report(), ["w9"])


@pytest.mark.parametrize(
    "one, place, sends",
    [
        (report(), None, "w1"),
        (report(), PINNED, "w2"),
        (report(), PREFERRED, "w2"),
        (report(candidate("w1", "holder"), candidate("w2", fit=False)), PREFERRED, "w1"),
        (NOTHING, None, ""),
        (NOTHING, PINNED, "w2"),
        (NOTHING, PREFERRED, ""),
    ],
)
def test_who_would_send(one: dict[str, Any], place: dict[str, str] | None, sends: str) -> None:
    assert verdict.predicted(one, place) == sends


def test_what_an_operator_is_shown() -> None:
    answer = {
        **report(place=PINNED),
        "holder": "w1",
        "without_lease": [{"host": "w3", "pid": 9}],
        "problems": ["Something is wrong."],
    }
    assert beat_report(answer) == [
        "w1 sends, epoch 3",
        "shall send: pinned on w2",
        "w1: holder, pid 7, release r1, seen 0.4 s ago, ticked 0.1 s before, clock +0.000 s",
        "w2: standby, pid 7, release r1, seen 0.4 s ago, ticked 0.1 s before, clock +0.000 s",
        "w3: pid 9, knows no lease",
        "PROBLEM: Something is wrong.",
    ]
    nobody = {**answer, "holder": "", "place": None, "candidates": [], "without_lease": [], "problems": []}
    assert beat_report(nobody) == ["nobody sends", "shall send: anywhere"]
