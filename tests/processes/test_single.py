"""celery_nodes with a real beat and a real Flower, detached by the runtime."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes

from tests.support.redis import free_port
from tests.support.waiting import until

from .conftest import A, B, Fleet


def test_beat_starts_stays_changes_and_goes(fleet: Fleet) -> None:
    done = fleet.converge(fleet.beat(A), kind="beat")
    assert done["failures"] == [] and done["started"] == ["beat"]
    pid = fleet.pid("beat")

    again = fleet.converge(fleet.beat(A), kind="beat")
    assert not again["changed"] and again["nodes"][0]["pid"] == pid

    changed = fleet.converge(fleet.beat(B), kind="beat")
    assert changed["failures"] == [] and changed["restarted"] == ["beat"]
    assert fleet.pid("beat") != pid

    gone = fleet.converge(kind="beat")
    assert gone["removed"] == ["beat"] and gone["stopped"] == ["beat"]
    assert not fleet.everyone() and not (fleet.root / "etc/beat.env").exists()
    assert not fleet.converge(kind="beat")["changed"]


def test_every_kind_leaves_the_others_alone(fleet: Fleet) -> None:
    fleet.converge(fleet.node("fruit-1", A))
    fleet.converge(fleet.beat(A), kind="beat")
    worker, beat = fleet.pid("fruit-1"), fleet.pid("beat")

    assert not fleet.converge(kind="flower")["changed"]
    assert fleet.converge()["removed"] == ["fruit-1"]
    assert processes.read(worker) is None
    assert fleet.converge(fleet.beat(A), kind="beat")["nodes"][0]["pid"] == beat


def test_a_beat_that_lost_its_pidfile_gets_no_twin(fleet: Fleet) -> None:
    fleet.converge(fleet.beat(A), kind="beat")
    pid = fleet.pid("beat")
    (fleet.root / "run/beat.pid").unlink()
    done = fleet.converge(fleet.beat(B), kind="beat")
    assert done["failures"] == [] and done["restarted"] == ["beat"]
    assert processes.read(pid) is None


def test_a_killed_beat_is_started_again(fleet: Fleet) -> None:
    fleet.converge(fleet.beat(A), kind="beat")
    pid = fleet.pid("beat")
    os.kill(pid, signal.SIGKILL)
    until(lambda: processes.read(pid) is None, "the process has ended")
    done = fleet.converge(fleet.beat(A), kind="beat")
    assert done["failures"] == [] and done["started"] == ["beat"]


def test_flower_is_ready_when_it_accepts_connections(fleet: Fleet) -> None:
    flower = fleet.flower(A, free_port())
    done = fleet.converge(flower, kind="flower")
    assert done["failures"] == [] and done["started"] == ["flower"]
    assert not fleet.converge(flower, kind="flower")["changed"]
    assert fleet.converge(kind="flower")["stopped"] == ["flower"]
    assert not fleet.everyone()


def test_what_ends_at_once_is_reported_with_what_it_said(fleet: Fleet) -> None:
    code = "raise SystemExit('the plums are out')"
    broken = replace(fleet.flower(A, free_port()), argv=(sys.executable, "-c", code))
    (failure,) = fleet.converge(broken, kind="flower")["failures"]
    assert "its process has ended" in failure and "the plums are out" in failure


def test_a_program_that_is_not_there(fleet: Fleet) -> None:
    missing = replace(fleet.beat(A), argv=("/nowhere/celery", "beat"))
    (failure,) = fleet.converge(missing, kind="beat")["failures"]
    assert "/nowhere/celery is not an executable" in failure
