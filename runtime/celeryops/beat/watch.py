"""The threads beside beat's main loop: one keeps the lease while that loop works, one listens for the
bell."""

from __future__ import annotations

import threading
from collections.abc import Callable

from celeryops.beat.lease import HAND_OVER, KEPT, LOST, Lease, clock
from celeryops.log import logger

STALL_LEASES = 3  # leases for which the main loop may stand still
STALL_MIN = 15.0  # s, at least


class Progress:
    """When the main loop last did something."""

    def __init__(self) -> None:
        self.at = clock()

    def __call__(self) -> None:
        self.at = clock()

    def age(self) -> float:
        return clock() - self.at


class Renewer(threading.Thread):
    """Renews the lease, unless the main loop hangs: a beat that sends nothing must not keep others from it.

    Parameters:
        lease: The lease.
        progress: Of the main loop.
        wake: Called when the main loop has something to see.
    """

    def __init__(self, lease: Lease, progress: Progress, wake: Callable[[], None]) -> None:
        super().__init__(name="celeryops-lease", daemon=True)
        self.hand_over = threading.Event()
        self._lease = lease
        self._progress = progress
        self._wake = wake
        self._now = threading.Event()
        self._ended = False
        self._failing = False

    def run(self) -> None:
        interval = min(self._lease.poll, self._lease.ttl / 3)
        while not self._ended:
            self._now.wait(interval)
            self._now.clear()
            if self._lease.held is not None and not self._ended:
                self.turn()

    def soon(self) -> None:
        """Look at once."""
        self._now.set()

    def end(self) -> None:
        self._ended = True
        self._now.set()

    def turn(self) -> None:
        limit = max(STALL_MIN, STALL_LEASES * self._lease.ttl)
        try:
            if self._progress.age() > limit:
                logger.critical(
                    "beat: the main loop has stood still for %.0f s; the lease is given to another host",
                    limit,
                )
                self._lease.release(gone=False)
                return
            held = self._lease.held
            result = self._lease.renew()
        except Exception as exc:
            if not self._failing:
                self._failing = True
                logger.warning("beat: the lease cannot be renewed: %s", exc)
            return
        if self._failing:
            self._failing = False
            logger.info("beat: the lease can be renewed again")
        if result == KEPT:
            return
        if result == LOST and self._lease.held is held:
            self._lease.drop()
        elif result == HAND_OVER:
            self.hand_over.set()
        self._wake()


class Bell(threading.Thread):
    """Hears that the lease is free or that beat shall run elsewhere. Without it candidates still look every
    poll.

    Parameters:
        lease: The lease.
        ring: Called when the bell rings.
    """

    def __init__(self, lease: Lease, ring: Callable[[], None]) -> None:
        super().__init__(name="celeryops-bell", daemon=True)
        self._lease = lease
        self._ring = ring
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                subscription = self._lease.pubsub()
                while not self._ended.is_set():
                    if subscription.get_message(timeout=self._lease.poll):
                        self._ring()
            except Exception as exc:
                logger.debug("celeryops: the bell cannot be heard: %s", exc)
                self._ended.wait(self._lease.poll)

    def end(self) -> None:
        self._ended.set()
