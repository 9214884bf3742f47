"""Beat as a member of the fleet: readiness, record, and a watchdog that knows its sleeping times."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from typing import Any

from celeryops.identity import Identity
from celeryops.member import Member
from celeryops.pulse import Pulse
from celeryops.steps import rss_bytes

GRACE = 60.0  # s that a tick may take before beat counts as hung


class Ticks:
    """Wraps the scheduler's ``tick`` to learn when it last ran and for how long beat sleeps now."""

    def __init__(self, scheduler: Any, pulse: Pulse) -> None:
        self._tick = scheduler.tick
        self._pulse = pulse
        self._due = time.monotonic() + GRACE
        scheduler.tick = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interval = self._tick(*args, **kwargs)
        self._pulse.tick()
        self._due = time.monotonic() + (interval or 0.0) + GRACE
        return interval

    def overdue(self) -> bool:
        return time.monotonic() > self._due


def watch(service: Any) -> None:
    """Make a member of a beat that has its schedule and is about to tick for the first time."""
    faulthandler.enable(sys.__stderr__ or 2)
    me = Identity.from_env()
    # A beat inside a worker has the worker's environment, and must not pass for the worker.
    name = f"beat-in-{me.node}" if me.pool else me.node or "beat"
    scheduler = service.scheduler
    details = {
        "queues": [],
        "processes": 1,
        "active": 0,
        "reserved": 0,
        "scheduler": f"{type(scheduler).__module__}:{type(scheduler).__qualname__}",
    }
    if getattr(scheduler, "celeryops_lease", False):
        details["scheduler"] = scheduler.inner_name

    def describe() -> dict[str, Any]:
        lease = {"lease": scheduler.describe()} if getattr(scheduler, "celeryops_lease", False) else {}
        return {**details, **lease, "rss_bytes": rss_bytes(os.getpid())}

    def may_feed(pulse: Pulse) -> bool:
        # A tick blocked on an absent Redis is no reason to kill beat.
        return not ticks.overdue() or pulse.redis_since is None

    member = Member(
        "beat",
        f"{name}@{me.host}",
        service.app,
        describe,
        may_feed,
    )
    ticks = Ticks(scheduler, member.pulse)
    member.begin()
