"""When an entry is due: its slots, the points in time that its schedule names. Pure but for the schedule
itself.

A slot depends on the slot before it and on the schedule, never on the moment when somebody looks: two hosts
that look at the same ledger name the same slots.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from celery.schedules import crontab, schedule, solar

from celeryops.beat.options import ALL, SKIP

# How far to look back for the latest slots of a schedule that stands in the calendar. A crontab for every
# minute must not be counted through a year of outage, one for 29 February must be found.
_LOOK_BACK = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=32),
    timedelta(days=366),
    timedelta(days=2930),
)
# Steps after which counting through any other schedule pauses until the next look.
_MOST_STEPS = 10_000


class Grid:
    """The slots of one schedule.

    Parameters:
        of: A schedule of Celery or of an extension.
    """

    def __init__(self, of: Any) -> None:
        self.of = of
        self._last = datetime.now(timezone.utc)
        self._every: timedelta | None = None
        kind = type(of)
        if (
            isinstance(of, schedule)
            and kind.remaining_estimate is schedule.remaining_estimate
            and not of.relative
        ):
            self._every = of.run_every
        else:
            self._frozen = copy.copy(of)
            self._frozen._app = getattr(of, "_app", None)
            self._frozen.nowfun = lambda: self._last
        self._in_calendar = isinstance(of, (crontab, solar))

    def after(self, last: datetime) -> datetime | None:
        """The slot that follows `last`, None when there is none.

        Raises:
            NotImplementedError: The schedule only says whether it is due.
        """
        if self._every is not None:
            return last + self._every if self._every else None
        # Seen from the last slot itself, what remains until the next one is the distance between the two.
        self._last = last
        remaining = self._frozen.remaining_estimate(last)
        if remaining is None:
            return None
        found = (last + remaining).astimezone(timezone.utc)
        return found if found > last else None

    def pending(self, last: datetime, now: datetime, limit: int) -> Pending:
        """The slots after `last` up to `now`, at most the latest `limit` of them."""
        if self._every is not None:
            if not self._every:
                return Pending([now])
            count = (now - last) // self._every
            first = max(1, count - limit + 1)
            return Pending([last + self._every * i for i in range(first, count + 1)], first > 1)
        if self._in_calendar:
            for back in _LOOK_BACK:
                if now - back <= last:
                    break
                found = self._walk(now - back, now, limit)
                if found.dropped or len(found.slots) == limit:
                    return Pending(found.slots, True)
        return self._walk(last, now, limit)

    def _walk(self, last: datetime, now: datetime, limit: int) -> Pending:
        slots: deque[datetime] = deque(maxlen=limit)
        steps = 0
        try:
            found = self.after(last)
            while found is not None and found <= now and steps < _MOST_STEPS:
                slots.append(found)
                steps += 1
                found = self.after(found)
        except NotImplementedError:
            return Pending([now])
        return Pending(list(slots), steps > limit)


@dataclass(frozen=True)
class Pending:
    """Slots that are due, oldest first; `dropped` when there were older ones beyond the limit."""

    slots: Sequence[datetime]
    dropped: bool = False


@dataclass(frozen=True)
class Step:
    """What to do for an entry now: go to `slot`, and send a task for it or not."""

    slot: datetime
    send: bool
    dropped: bool = False


def next_step(pending: Pending, policy: str, since: datetime) -> Step | None:
    """The next step for an entry, None when there is none.

    Parameters:
        pending: Its slots that are due.
        policy: One of options.POLICIES.
        since: When this beat took the lease.
    """
    slots = pending.slots
    if not slots:
        return None
    if policy == ALL:
        return Step(slots[0], True, pending.dropped)
    return Step(slots[-1], policy != SKIP or slots[-1] >= since)


def first_baseline(grid: Grid, last: datetime, now: datetime) -> datetime:
    """From where an entry that the ledger does not know begins, given when its scheduler says it last ran.

    Celery sends an entry that has been overdue for long once. So at most one slot is due from the baseline
    on.
    """
    slots = grid.pending(last, now, 2).slots
    return slots[-2] if len(slots) > 1 else last
