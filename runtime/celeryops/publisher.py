"""The thread that writes this process's record into the fleet's books."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from celeryops.books import Books
from celeryops.log import harmless, logger
from celeryops.pulse import Pulse

INTERVAL = 5.0  # s
FAREWELL = 3.0  # s that a clean shutdown waits for the record to go


class Publisher(threading.Thread):
    """Has a connection of its own and may block on it; the event loop never waits for it.

    Parameters:
        node: Full node name.
        open_books: Connects to Redis.
        describe: The record as it stands now.
        pulse: Told whether Redis answers.
    """

    def __init__(
        self, node: str, open_books: Callable[[], Books], describe: Callable[[], dict[str, Any]], pulse: Pulse
    ) -> None:
        super().__init__(name="celeryops-publisher", daemon=True)
        self._node = node
        self._open_books = open_books
        self._describe = describe
        self._pulse = pulse
        self._books: Books | None = None
        self._wake = threading.Event()
        self._ended = False
        self._complained = False
        self._pid = os.getpid()

    def run(self) -> None:
        while not self._ended:
            self.turn()
            self._wake.wait(INTERVAL)
            self._wake.clear()
        self._remove()

    def soon(self) -> None:
        """Write the next record now."""
        self._wake.set()

    def end(self) -> None:
        """Remove the record and end; a process forked from the one that published leaves it alone."""
        if os.getpid() != self._pid or not self.is_alive():
            return
        self._ended = True
        self._wake.set()
        self.join(FAREWELL)

    def turn(self) -> None:
        try:
            if self._books is None:
                self._books = self._open_books()
            self._books.publish(self._describe())
        except Exception as exc:
            self._drop_books()
            if not self._complained:
                self._complained = True
                logger.warning("celeryops: this node's record cannot be written: %s", exc)
            self._pulse.redis_answers(False)
        else:
            self._complained = False
            self._pulse.redis_answers(True)

    @harmless
    def _drop_books(self) -> None:
        books, self._books = self._books, None
        if books is not None:
            books.close()

    @harmless
    def _remove(self) -> None:
        if self._books is not None:
            self._books.remove(self._node, self._pid)
