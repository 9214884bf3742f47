"""What the schedule's lint finds, and that the slots behave as it says."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import celery
import pytest
from celery.schedules import crontab, schedule
from celeryops.beat.slots import Grid
from celeryops.schedulelint import Entry, changes, entries, lint

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
TASKS = ("orders.close", "orders.count")


def entry(when: Any, name: str = "nightly", task: str = "orders.close", expires: bool = True) -> Entry:
    return Entry(name, task, when, expires)


def found(*ones: Entry, zone: Any = BERLIN) -> list[str]:
    return lint(ones, zone, TASKS, NOW)


def slots(when: crontab, begin: datetime, end: datetime) -> list[str]:
    """The slots between two moments, as the zone's clocks show them."""
    app = celery.Celery("slots", set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    when.app = app
    grid, last, shown = Grid(when), begin, []
    while (following := grid.after(last)) is not None and following < end:
        shown.append(following.astimezone(BERLIN).strftime("%H:%M%z"))
        last = following
    return shown


def test_nothing_is_found_in_a_good_schedule() -> None:
    assert found(entry(crontab(hour="4", minute="30")), entry(schedule(60))) == []


@pytest.mark.parametrize(
    "zone, shown",
    [
        ("Europe/Berlin", ["02:00 to 03:00 on 2026-03-29", "02:00 to 03:00 on 2026-10-25"]),
        ("America/New_York", ["02:00 to 03:00 on 2026-03-08", "01:00 to 02:00 on 2026-11-01"]),
        ("Australia/Lord_Howe", ["01:30 to 02:00 on 2026-04-05", "02:00 to 02:30 on 2026-10-04"]),
        ("America/Havana", ["00:00 to 01:00 on 2026-03-08", "00:00 to 01:00 on 2026-11-01"]),
        ("Asia/Tokyo", []),
        ("UTC", []),
    ],
)
def test_when_clocks_change(zone: str, shown: list[str]) -> None:
    assert [str(one) for one in changes(ZoneInfo(zone), NOW, NOW + timedelta(days=365))] == shown


def test_a_crontab_in_the_hour_of_the_change() -> None:
    (line,) = found(entry(crontab(hour="2", minute="30")))
    assert line.startswith("beat_schedule: nightly (30 2 * * *): in Europe/Berlin")
    assert "02:00 to 03:00 on 2026-03-29 does not exist" in line
    assert "02:00 to 03:00 on 2026-10-25 comes twice, and it is sent in the first one only" in line
    assert line.endswith("set timezone to UTC")


def test_a_crontab_around_the_clock_pauses_in_the_repeated_hour() -> None:
    (line,) = found(*(entry(crontab(minute="*/5"), name) for name in ("count", "beat")))
    assert line.startswith(
        "beat_schedule: beat, count: in Europe/Berlin the time from 02:00 to 03:00 on 2026-10-25"
    )


@pytest.mark.parametrize(
    "when",
    [
        crontab(hour="1", minute="59"),
        crontab(hour="3", minute="0"),
        crontab(hour="2", minute="30", day_of_week="mon"),
        crontab(hour="2", minute="30", month_of_year="7"),
        crontab(hour="2", minute="30", day_of_month="1"),
    ],
)
def test_crontabs_that_no_change_touches(when: crontab) -> None:
    assert found(entry(when)) == []


def test_no_change_in_utc() -> None:
    assert found(entry(crontab(hour="2", minute="30")), zone=timezone.utc) == []
    assert found(entry(crontab(hour="2", minute="30")), zone=ZoneInfo("UTC")) == []


def test_the_slots_are_as_the_lines_say() -> None:
    spring, autumn = (datetime(2026, 3, 28, 23, tzinfo=BERLIN), datetime(2026, 10, 24, 23, tzinfo=BERLIN))
    night = timedelta(hours=7)
    often = crontab(hour="2", minute="*/20")
    assert slots(often, spring, spring + night) == ["03:00+0200"]
    assert slots(often, autumn, autumn + night) == ["02:00+0200", "02:20+0200", "02:40+0200"]
    hourly = slots(crontab(minute="0"), autumn, autumn + night)
    assert hourly.count("02:00+0200") == 1
    assert "02:00+0100" not in hourly


def test_a_task_that_no_node_registers() -> None:
    (line,) = found(entry(schedule(60), task="orders.gone"))
    assert "nightly sends orders.gone, which no node registers" in line


def test_entries_without_expires_share_a_line() -> None:
    (line,) = found(*(entry(schedule(60), f"e{number}", expires=False) for number in range(8)))
    assert line.startswith("beat_schedule: e0, e1, e2, e3, e4 and 3 more without expires")
    assert "options: {'expires': SECONDS}" in line


def test_where_an_expiry_may_stand() -> None:
    app = celery.Celery("where", set_as_current=False)

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="brief", expires=30)
    def brief() -> None: ...

    given = {
        "by task": {"task": "brief", "schedule": 60},
        "by entry": {"task": "plain", "schedule": 60, "options": {"expires": 30}},
        "nowhere": {"task": "plain", "schedule": crontab()},
        "elsewhere": {"task": "gone", "schedule": 60},
    }
    expire = {one.name: one.expires for one in entries(given, app.tasks)}
    assert expire == {"by task": True, "by entry": True, "nowhere": False, "elsewhere": False}


def test_the_check_of_an_application_shows_it(grove: Any) -> None:
    (grove.folder / "late.py").write_text(
        "from celery import Celery\n"
        "from celery.schedules import crontab\n"
        "app = Celery('late')\n"
        "app.conf.timezone = 'Europe/Berlin'\n"
        "app.conf.beat_schedule = {'nightly': {'task': 'gone', 'schedule': crontab(hour=2, minute=30)}}\n"
    )
    report = json.loads(grove.run("celeryops", "check", "late:app", "--json").stdout)
    assert report["scheduled"] == ["nightly"]
    lines = [line for line in report["warnings"] if line.startswith("beat_schedule: nightly")]
    assert [word in " ".join(lines) for word in ("sends gone", "Europe/Berlin", "without expires")] == [
        True
    ] * 3
