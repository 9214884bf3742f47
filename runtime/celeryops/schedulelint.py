"""What will hurt in a schedule: no expiry, hours that a change of the clocks touches, unknown tasks. Pure.

One line for each finding, with the entry, what is wrong and what to change; entries with the same trouble
share a line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from celery.schedules import crontab

YEAR = timedelta(days=366)
STEP = timedelta(minutes=15)  # clocks change at such moments, all over the world
_NAMED = 5  # entries that a line lists
_WHERE = "beat_schedule: "


@dataclass(frozen=True)
class Entry:
    """One entry of the schedule.

    Parameters:
        name: Its name.
        task: The task that it sends.
        schedule: When.
        expires: Whether what it sends expires.
    """

    name: str
    task: str
    schedule: Any
    expires: bool


@dataclass(frozen=True)
class Change:
    """A change of the clocks: the times of day from `begin` on, until `end`, come never or twice."""

    begin: datetime
    end: datetime
    repeats: bool

    def minutes(self) -> Iterator[datetime]:
        moment = self.begin
        while moment < self.end:
            yield moment
            moment += timedelta(minutes=1)

    def __str__(self) -> str:
        return f"{self.begin:%H:%M} to {self.end:%H:%M} on {self.begin:%Y-%m-%d}"


def entries(schedule: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[Entry]:
    """The entries of ``beat_schedule``.

    Parameters:
        schedule: The setting.
        tasks: The tasks that the application registers, by name.
    """
    found = []
    for name, one in schedule.items():
        get = one.get if isinstance(one, Mapping) else lambda key, one=one: getattr(one, key, None)
        task = str(get("task"))
        expires = (get("options") or {}).get("expires") or getattr(tasks.get(task), "expires", None)
        found.append(Entry(str(name), task, get("schedule"), bool(expires)))
    return found


def lint(schedule: Iterable[Entry], zone: tzinfo, tasks: Collection[str], now: datetime) -> list[str]:
    """Every finding, as a line.

    Parameters:
        schedule: The entries.
        zone: The application's time zone.
        tasks: Names of the tasks that it registers.
        now: From when on the coming year counts.
    """
    ones = sorted(schedule, key=lambda one: one.name)
    return [*_unknown(ones, tasks), *_clocks(ones, zone, now), *_endless(ones)]


def changes(zone: tzinfo, begin: datetime, end: datetime) -> list[Change]:
    """The changes of a zone's clocks between two moments."""
    moment = begin.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
    found = []
    before = _offset(zone, moment)
    while moment < end:
        moment += STEP
        after = _offset(zone, moment)
        if after != before:
            # What a clock would show that nobody has set, and what it is set to.
            unset, reset = (moment + before).replace(tzinfo=None), (moment + after).replace(tzinfo=None)
            found.append(Change(min(unset, reset), max(unset, reset), after < before))
            before = after
    return found


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _unknown(ones: Iterable[Entry], tasks: Collection[str]) -> Iterator[str]:
    for one in ones:
        if one.task not in tasks:
            yield (
                f"{_WHERE}{one.name} sends {one.task}, which no node registers: a worker would drop it as "
                "unknown. Correct the task's name, or add its module to the application's include"
            )


def _clocks(ones: Iterable[Entry], zone: tzinfo, now: datetime) -> Iterator[str]:
    timed = [one for one in ones if isinstance(one.schedule, crontab)]
    moves = changes(zone, now, now + YEAR) if timed else []
    name = getattr(zone, "key", str(zone))
    always: dict[Change, list[str]] = {}
    for one in timed:
        hit = [move for move in moves if any(_names(one.schedule, minute) for minute in move.minutes())]
        if len(one.schedule.hour) == 24:
            for move in hit:
                if move.repeats:
                    always.setdefault(move, []).append(one.name)
        elif hit:
            effects = "; ".join(map(_effect, hit))
            yield f"{_WHERE}{one.name} ({_text(one.schedule)}): in {name} {effects}. {_REMEDY}"
    for move, names in always.items():
        yield (
            f"{_WHERE}{_listed(names)}: in {name} the time from {move} comes twice, and in the second one "
            "nothing is sent. Give an interval in seconds in place of the crontab, or set timezone to UTC"
        )


_REMEDY = "Choose a time that comes once every day, or set timezone to UTC"


def _effect(move: Change) -> str:
    if move.repeats:
        return f"the time from {move} comes twice, and it is sent in the first one only"
    return f"the time from {move} does not exist, and what falls into it is sent once when it would be over"


def _names(when: crontab, minute: datetime) -> bool:
    return (
        minute.minute in when.minute
        and minute.hour in when.hour
        and minute.day in when.day_of_month
        and minute.month in when.month_of_year
        and minute.isoweekday() % 7 in when.day_of_week
    )


def _text(when: crontab) -> str:
    parts = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return " ".join(str(getattr(when, f"_orig_{part}")) for part in parts)


def _endless(ones: Iterable[Entry]) -> Iterator[str]:
    names = [one.name for one in ones if not one.expires]
    if names:
        yield (
            f"{_WHERE}{_listed(names)} without expires: while no worker takes it, every slot waits in the "
            "queue, and all of them run afterwards. Give options: {'expires': SECONDS}, less than the time "
            "between two slots"
        )


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
