"""What a process of the fleet is doing, as its main thread says."""

from __future__ import annotations

import time

STARTING, READY, RECONNECTING, STOPPING = "starting", "ready", "reconnecting", "stopping"

# A worker waits at most 32 s between two attempts to reconnect. One that is still at it after this many
# seconds with Redis answering is stuck.
STUCK_AFTER = 120.0


class Pulse:
    """Written by the main thread, read by the keeper and the publisher; plain attributes, hence no lock.

    A signal handler of the main thread writes here too, so a lock could deadlock.
    """

    def __init__(self) -> None:
        self.phase = STARTING
        self.since = time.time()
        self.looped = time.monotonic()
        self.redis_since: float | None = None  # monotonic time since which Redis answers the publisher

    def enter(self, phase: str) -> None:
        if self.phase not in (phase, STOPPING):
            self.phase = phase
            self.since = time.time()

    def tick(self) -> None:
        self.looped = time.monotonic()

    def loop_age(self) -> float:
        """Seconds since the event loop last turned, or since beat last looked at its schedule."""
        return time.monotonic() - self.looped

    def redis_answers(self, answers: bool) -> None:
        if not answers:
            self.redis_since = None
        elif self.redis_since is None:
            self.redis_since = time.monotonic()


def may_keep_worker(phase: str, loop_age: float, redis_for: float | None) -> bool:
    """Whether the watchdog may be fed on behalf of a worker whose event loop does not run.

    Parameters:
        phase: What the worker is doing.
        loop_age: Seconds since its event loop last turned.
        redis_for: Seconds for which Redis has been answering, None when it does not answer.

    A ready worker feeds by itself or is stuck, be it for good or in the midst of a heartbeat or a send of its
    own, where the library tries again until Redis is back. One that reconnects is kept as well, for its
    tasks still run, unless Redis has long been back. One that stops may finish long tasks: the unit's stop
    time-out bounds that.
    """
    if phase == READY:
        return redis_for is None or redis_for < min(loop_age, STUCK_AFTER)
    if phase == RECONNECTING:
        return redis_for is None or min(loop_age, redis_for) < STUCK_AFTER
    return True
