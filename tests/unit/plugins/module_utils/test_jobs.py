from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import jobs, records
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.jobs import DONE, STARTING, Job, Reader
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Step, Wanted


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(jobs, "time", one)
    return one


def job(**more: Any) -> Job:
    wanted = Wanted("n-1", "f", start_timeout=60, stop_timeout=900)
    return Job(Step("n-1", "start", "", more.pop("wanted", wanted)), [], 30)


def test_time_outs_are_the_nodes_own_or_the_default_for_one_that_left() -> None:
    assert (job().start_timeout, job().stop_timeout) == (60, 900)
    assert job(wanted=None).stop_timeout == 30


def test_a_deadline(clock: Clock) -> None:
    one = job()
    one.to(STARTING, 60)
    clock.now += 60
    assert one.busy and not one.is_late
    clock.now += 1
    assert one.is_late
    one.to(DONE)
    assert not one.busy


def test_a_process_that_was_missed_for_long_has_vanished(clock: Clock) -> None:
    one = job()
    one.to(STARTING, 60)
    for _ in range(jobs.VANISHED_LOOKS):
        clock.now += 1
        assert not one.has_vanished
        one.look(False)
    assert one.has_vanished
    one.look(True)
    assert not one.has_vanished


def test_a_host_that_was_held_up_does_not_make_a_process_vanish(clock: Clock) -> None:
    one = job()
    one.to(STARTING, 60)
    one.look(False)
    clock.now += 30
    one.look(False)
    assert not one.has_vanished


def test_nothing_vanishes_before_its_launch_has_ended(clock: Clock) -> None:
    class Running:
        rc = None

    one = job()
    one.to(STARTING, 60)
    one.launch = Running()  # type: ignore[assignment]
    for _ in range(10):
        clock.now += 1
        one.look(False)
    assert not one.has_vanished


def test_records_are_read_once_for_all_and_not_too_often(clock: Clock) -> None:
    answers = iter([{"nodes": [1]}, {"nodes": [2]}])

    def read() -> Any:
        clock.now += 2
        return next(answers)

    reader = Reader(read)
    assert reader.read() == ({"nodes": [1]}, "")
    clock.now += 3
    assert reader.read() == ({"nodes": [1]}, ""), "a read of 2 s is not repeated before 4 s are over"
    clock.now += 1
    assert reader.read() == ({"nodes": [2]}, "")


def test_records_that_cannot_be_read_are_a_reason_and_no_end() -> None:
    def read() -> Any:
        raise records.RecordsError("no broker")

    assert Reader(read).read() == (None, "the records cannot be read: no broker")
    assert Reader(None).read()[0] is None
