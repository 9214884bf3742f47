"""The thread that feeds the watchdog while the main thread cannot, and keeps the status line."""

from __future__ import annotations

import threading
from collections.abc import Callable

from celeryops.log import harmless
from celeryops.notify import Notifier

STATUS_INTERVAL = 5.0  # s


class Keeper(threading.Thread):
    """Does nothing that could block: no Redis, no disk, datagrams only.

    Parameters:
        notifier: Where to speak to.
        may_feed: Whether the process deserves to be kept although its main thread does not feed.
        describe: The status line.
    """

    def __init__(self, notifier: Notifier, may_feed: Callable[[], bool], describe: Callable[[], str]) -> None:
        super().__init__(name="celeryops-keeper", daemon=True)
        self._notifier = notifier
        self._may_feed = may_feed
        self._describe = describe
        self._ended = threading.Event()

    def run(self) -> None:
        interval = min(STATUS_INTERVAL, self._notifier.watchdog / 3 or STATUS_INTERVAL)
        while True:
            self.turn()
            if self._ended.wait(interval):
                return

    @harmless
    def turn(self) -> None:
        if self._may_feed():
            self._notifier.feed()
        self._notifier.status(self._describe())

    def end(self) -> None:
        self._ended.set()
