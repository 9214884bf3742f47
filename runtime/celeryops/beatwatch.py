"""Beat as a member of the fleet: readiness, record, and a watchdog that knows its sleeping times."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from celeryops.identity import Identity
from celeryops.member import Member
from celeryops.pulse import Pulse
from celeryops.steps import rss_bytes

GRACE = 60.0  # s that a tick may take before beat counts as hung


class Ticks:
    """Wraps the scheduler's ``tick``: it learns when it last ran, how long beat sleeps, and what has changed.

    Parameters:
        scheduler: Whose tick it is.
        pulse: Of the process.
        lease: What the scheduler has to do with the lease, for the record.
        publish: Has the record written. A deploy looks whether somebody sends as soon as it has started the
            beats, and operators do as soon as they have moved it.
    """

    def __init__(
        self, scheduler: Any, pulse: Pulse, lease: Callable[[], dict[str, Any]], publish: Callable[[], None]
    ) -> None:
        self._tick = scheduler.tick
        self._pulse = pulse
        self._lease = lease
        self._publish = publish
        self._known = lease()
        self._due = time.monotonic() + GRACE
        scheduler.tick = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interval = self._tick(*args, **kwargs)
        self._pulse.tick()
        self._due = time.monotonic() + (interval or 0.0) + GRACE
        known, self._known = self._known, self._lease()
        if self._known != known:
            self._publish()
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

    def lease() -> dict[str, Any]:
        return {"lease": scheduler.describe()} if getattr(scheduler, "celeryops_lease", False) else {}

    def describe() -> dict[str, Any]:
        return {**details, **lease(), "rss_bytes": rss_bytes(os.getpid())}

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
    ticks = Ticks(scheduler, member.pulse, lease, member.publish)
    member.begin()
