"""Which slots are due, against counting them one by one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import celery
import pytest
from celery.schedules import BaseSchedule, crontab, schedstate, schedule
from celeryops.beat.options import POLICIES
from celeryops.beat.slots import Grid, Pending, first_baseline, next_step
from hypothesis import given, settings
from hypothesis import strategies as st

APP = celery.Celery("slots", set_as_current=False)
APP.conf.timezone = "Europe/Berlin"
START = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)

moments = st.integers(-400 * 86_400, 650 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds))
crontabs = st.builds(
    lambda minute, hour, day: crontab(minute=minute, hour=hour, day_of_week=day, app=APP),
    st.sampled_from(["*", "0", "*/15", "30", "7,11"]),
    st.sampled_from(["*", "2", "*/6", "4"]),
    st.sampled_from(["*", "mon", "1-5"]),
)


def counted(grid: Grid, last: datetime, now: datetime) -> list[datetime]:
    found = []
    while (following := grid.after(last)) is not None and following <= now:
        found.append(following)
        last = following
    return found


@given(moments, st.integers(1, 90), st.integers(0, 5_000), st.integers(1, 200))
def test_an_interval_stays_on_its_grid(last: datetime, every: int, later: int, limit: int) -> None:
    grid = Grid(schedule(every, app=APP))
    all_of_them = counted(grid, last, last + timedelta(seconds=later))
    found = grid.pending(last, last + timedelta(seconds=later), limit)
    assert list(found.slots) == all_of_them[-limit:]
    assert found.dropped == (len(all_of_them) > limit)


@settings(max_examples=40, deadline=None)
@given(crontabs, moments, st.integers(0, 5 * 86_400), st.integers(1, 50))
def test_a_crontab_has_the_same_slots_from_wherever_it_is_counted(
    of: Any, last: datetime, later: int, limit: int
) -> None:
    grid = Grid(of)
    now = last + timedelta(seconds=later)
    all_of_them = counted(grid, last, now)
    assert list(grid.pending(last, now, limit).slots) == all_of_them[-limit:]


@given(crontabs, moments)
def test_slots_go_forward_across_changes_of_the_clock(of: Any, last: datetime) -> None:
    grid = Grid(of)
    for _ in range(5):
        following = grid.after(last)
        assert following is not None
        assert following > last
        last = following


def test_a_year_of_outage_is_not_counted_minute_by_minute() -> None:
    class Counted(crontab):
        steps = 0

        def remaining_estimate(self, last_run_at: datetime, **kwargs: Any) -> Any:
            Counted.steps += 1
            return super().remaining_estimate(last_run_at, **kwargs)

    found = Grid(Counted(app=APP)).pending(START - timedelta(days=365), START, 1)
    assert list(found.slots) == [START]
    assert found.dropped
    assert Counted.steps < 200


def test_a_slot_long_ago_is_found() -> None:
    leap = crontab(minute=0, hour=0, day_of_month=29, month_of_year=2, app=APP)
    found = Grid(leap).pending(datetime(2022, 1, 1, tzinfo=timezone.utc), START, 1)
    assert [slot.astimezone(APP.timezone).date().isoformat() for slot in found.slots] == ["2024-02-29"]


def test_a_schedule_that_only_says_whether_it_is_due_has_its_slot_now() -> None:
    class Sometimes(BaseSchedule):
        def is_due(self, last_run_at: datetime) -> Any:
            return schedstate(True, 1.0)

    assert Grid(Sometimes(app=APP)).pending(START, START + timedelta(hours=1), 5).slots == [
        START + timedelta(hours=1)
    ]


@pytest.mark.parametrize(
    "policy, slots, slot, send",
    [
        ("all", [1, 2, 3], 1, True),
        ("coalesce", [1, 2, 3], 3, True),
        ("skip", [1, 2, 3], 3, False),
        ("skip", [1, 2, 11], 11, True),
    ],
)
def test_a_policy_says_what_becomes_of_missed_slots(
    policy: str, slots: list[int], slot: int, send: bool
) -> None:
    at = [START + timedelta(seconds=one) for one in slots]
    step = next_step(Pending(at), policy, START + timedelta(seconds=10))
    assert step is not None
    assert (step.slot, step.send) == (START + timedelta(seconds=slot), send)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_slots_there_is_nothing_to_do(policy: str) -> None:
    assert next_step(Pending([]), policy, START) is None


@given(moments, st.integers(1, 10_000), st.integers(0, 1_000_000))
def test_an_unknown_entry_is_overdue_once_at_most(now: datetime, every: int, ago: int) -> None:
    grid = Grid(schedule(every, app=APP))
    last = now - timedelta(seconds=ago)
    begin = first_baseline(grid, last, now)
    assert len(grid.pending(begin, now, 10).slots) == min(1, ago // every)
