from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import judgement


def record(node: str = "n-1@h", **more: Any) -> dict[str, Any]:
    fine = {"kind": "worker", "node": node, "host": "h", "pid": 7, "status": "ready", "release": "1"}
    return {**fine, "age": 1.0, "loop_age": 0.5, "concurrency": 4, "prefetch_count": 4, **more}


def beat(node: str = "beat@h", **more: Any) -> dict[str, Any]:
    # Beat sleeps between ticks: its loop may be still for minutes.
    return record(node, kind="beat", loop_age=200.0, **more)


def found(*nodes: dict[str, Any], beats: tuple[dict[str, Any], ...] = (), **more: Any) -> list[str]:
    return judgement.problems({"nodes": list(nodes), "beats": list(beats)}, **more)


def test_a_sound_fleet_has_no_problems() -> None:
    assert found(record(), beats=(beat(),), inspect={"n-1@h": "ok"}, expected=["n-1@h"]) == []


@pytest.mark.parametrize(
    "flaw, words",
    [
        ({"status": "starting"}, "starting, not ready"),
        ({"status": "reconnecting"}, "reconnecting, not ready"),
        ({"age": 40.0}, "wrote its record 40 s ago"),
        ({"loop_age": 90.0}, "event loop for 90 s"),
        ({"prefetch_count": 1}, "may only hold 1 tasks while it may run 4"),
        (
            {"concurrency": None, "autoscale": {"min": 1, "max": 8}, "prefetch_count": 1},
            "may only hold 1 tasks while it may run 8",
        ),
    ],
)
def test_a_flaw_of_a_node(flaw: dict[str, Any], words: str) -> None:
    (problem,) = found(record(**flaw))
    assert words in problem and problem.startswith("n-1@h (pid 7 on h)")


@pytest.mark.parametrize("prefetch", [0, 4, 40, None])
def test_a_prefetch_that_suffices_or_is_unlimited_or_unknown(prefetch: int | None) -> None:
    assert found(record(prefetch_count=prefetch)) == []


def test_no_node_at_all() -> None:
    (problem,) = found()
    assert "No worker node keeps a record" in problem


def test_silence_and_strangers() -> None:
    problems = found(record(), inspect={"n-1@h": "no reply", "who@h": "ok"})
    assert len(problems) == 2
    assert "n-1@h" in problems[0] and "answers no ping" in problems[0]
    assert "who@h answers a ping but keeps no record" in problems[1]


def test_expected_nodes() -> None:
    problems = found(record(), record("n-3@h"), expected=["n-1@h", "n-2@h"])
    assert len(problems) == 2
    assert problems[0].startswith("n-2@h is expected but keeps no record")
    assert problems[1].startswith("n-3@h keeps a record but is not expected")


def test_two_releases() -> None:
    (problem,) = found(record(), record("n-2@h", release="2"))
    assert "2 different releases: 1 on n-1@h; 2 on n-2@h" in problem


def test_beats_of_which_one_has_the_lease() -> None:
    holder, standby = beat(lease={"state": "holder"}), beat("beat@g", lease={"state": "standby"})
    assert found(record(), beats=(holder, standby)) == []


def test_a_beat_that_knows_no_lease_beside_another() -> None:
    (problem,) = found(record(), beats=(beat(lease={"state": "holder"}), beat("beat@g")))
    assert "2 beats run" in problem and "beat@g" in problem and "knows no lease" in problem


def test_a_beat_that_is_not_ready() -> None:
    (problem,) = found(record(), beats=(beat(status="stopping"),))
    assert "beat@h" in problem and "stopping" in problem


def test_who_answered() -> None:
    records = [record(), record("n-2@h"), beat()]
    pong = {"ok": "pong"}
    pings = {"n-1@h": pong, "beat@h": pong, "celerybeat@h": pong, "who@h": pong}
    assert judgement.answers(records, pings) == {"n-1@h": "ok", "n-2@h": "no reply", "who@h": "ok"}
