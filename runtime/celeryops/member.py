"""A long-running process of the fleet: worker or beat, with its pulse, its watchdog and its record."""

from __future__ import annotations

import atexit
import importlib
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import celery

from celeryops import pulse as phases
from celeryops.books import Books
from celeryops.identity import Identity
from celeryops.keeper import Keeper
from celeryops.notify import Notifier
from celeryops.publisher import Publisher
from celeryops.pulse import Pulse

# Imported lazily by name resolution, redis-py and kombu's transport when a connection is made or lost.
_NEEDED = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "kombu.transport.redis",
    "redis.sentinel",
)


class Member:
    """Ties the parts together.

    Parameters:
        kind: ``worker`` or ``beat``.
        node: Full node name, e.g. ``default-1@worker1``.
        app: The Celery application.
        details: The part of the record that only this kind of process knows.
        may_feed: Whether the keeper may feed the watchdog, see `Keeper`.
    """

    def __init__(
        self,
        kind: str,
        node: str,
        app: Any,
        details: Callable[[], dict[str, Any]],
        may_feed: Callable[[Pulse], bool],
    ) -> None:
        self.pulse = Pulse()
        self.notifier = Notifier.from_env()
        self._kind = kind
        self._node = node
        self._details = details
        self._last_details: dict[str, Any] = {}
        self._identity = Identity.from_env()
        self._started = time.time()
        self._closed = False
        self._keeper = Keeper(self.notifier, lambda: may_feed(self.pulse), self.status_line)
        self._publisher = Publisher(
            node, lambda: Books.open(app, self._identity.fleet), self.record, self.pulse
        )

    def begin(self) -> None:
        """The process does its work from now on: say so, and start the threads that go on saying so."""
        self.pulse.tick()
        self.pulse.enter(phases.READY)
        self.notifier.ready()
        self._warm_up()
        self._keeper.start()
        self._publisher.start()
        atexit.register(self.close)

    def publish(self) -> None:
        """Write the record now: something in it has changed that others go by."""
        self._publisher.soon()

    def stopping(self) -> None:
        self.pulse.enter(phases.STOPPING)
        self.notifier.stopping()
        self.publish()

    def close(self) -> None:
        """The last word: after it neither record nor watchdog."""
        if self._closed:
            return
        self._closed = True
        self.pulse.enter(phases.STOPPING)
        self.notifier.stopping()
        self._publisher.end()
        self._keeper.end()

    def record(self) -> dict[str, Any]:
        """This process in the fleet's books."""
        me = self._identity
        return {
            "kind": self._kind,
            "node": self._node,
            "pool": me.pool,
            "host": me.host,
            "pid": os.getpid(),
            "release": me.release,
            "fingerprint": me.fingerprint,
            "started": round(self._started, 3),
            "heartbeat": round(time.time(), 3),
            "loop_age": round(self.pulse.loop_age(), 1),
            "celery": celery.__version__,
            "python": platform.python_version(),
            "status": self.pulse.phase,
            **self._known_details(),
        }

    def status_line(self) -> str:
        """The line that ``systemctl status`` shows."""
        details = self._known_details()
        parts = [self.pulse.phase]
        if self.pulse.phase == phases.RECONNECTING:
            parts = [
                "reconnecting to Redis since " + time.strftime("%H:%M:%S", time.localtime(self.pulse.since))
            ]
        if self._kind == "worker" and details:
            scaler = details.get("autoscaler", {})
            limits = f" of {scaler['min']} to {scaler['max']} ({scaler['reason']})" if scaler else ""
            parts.append(f"{details['processes']}{limits} processes")
            parts.append(f"{details['active']} active")
            parts.append(f"{details['reserved']} reserved")
            parts.append("queues " + ",".join(details["queues"]))
            if scaler.get("trouble"):
                parts.append(scaler["trouble"])
            if scaler.get("held"):
                parts.append(f"would have {scaler['want']} processes, but {scaler['text']}")
        return ", ".join(parts)

    def _warm_up(self) -> None:
        # A process forked while one of our threads imports a module inherits that module's lock, held
        # for ever by a thread it does not have. So the main thread imports what the threads will need.
        for name in _NEEDED:
            importlib.import_module(name)
        self.notifier.status(self.status_line())

    def _known_details(self) -> dict[str, Any]:
        try:
            self._last_details = self._details()
        except Exception:
            # Parts of a worker that starts or stops are missing; what was last known serves.
            if self.pulse.phase == phases.READY:
                raise
        return self._last_details
