"""From the pushes that were seen: how many there were twice, and how many never. Pure functions."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.beat.consumer import Push

PERIOD = 1.0  # s between two slots of an entry that is counted for missed slots


@dataclass(frozen=True)
class Count:
    pushes: int
    duplicates: int
    missed: int


def by_slot(pushes: Iterable[Push]) -> Count:
    """Each message names its slot, so that nothing is inferred."""
    times = Counter((push.entry, push.slot) for push in pushes)
    slots: dict[str, list[float]] = defaultdict(list)
    for entry, slot in times:
        slots[entry].append(slot)
    missed = 0
    for entry, seen in slots.items():
        if entry != "crontab":
            due = round((max(seen) - min(seen)) / PERIOD) + 1
            missed += due - len(seen)
    return Count(times.total(), times.total() - len(times), missed)


def by_time(pushes: Iterable[Push]) -> Count:
    """No slot is named, so gaps tell, to the favour of who sent them.

    What comes sooner than half a period after the last was there twice, and slots that drift are not missed.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for push in pushes:
        times[push.entry].append(push.at)
    gaps = {
        entry: [later - sooner for sooner, later in itertools.pairwise(seen)] for entry, seen in times.items()
    }
    return Count(
        pushes=sum(map(len, times.values())),
        duplicates=sum(gap < PERIOD / 2 for some in gaps.values() for gap in some),
        missed=sum(
            max(0, round(gap / PERIOD) - 1)
            for entry, some in gaps.items()
            if entry != "crontab"
            for gap in some
        ),
    )


def out_of_order(pushes: Iterable[Push]) -> int:
    """How many messages were sent under an older epoch than one before them; in the order of Redis."""
    newest = stale = 0
    for push in pushes:
        stale += push.epoch < newest
        newest = max(newest, push.epoch)
    return stale


def takeovers(pushes: Iterable[Push]) -> int:
    """How many processes have sent after the first one, each epoch of one by itself."""
    return max(0, len({(push.pid, push.epoch) for push in pushes}) - 1)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so many do not exceed; of few values p99 is the largest."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def seconds(values: Sequence[float]) -> dict[str, Any]:
    return {
        f"first_publish_{name}_s": None if (value := quantile(values, share)) is None else round(value, 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
