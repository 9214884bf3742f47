"""The thread that looks at machine, children and queues, so that the event loop never waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celeryops.autoscale import backlog, children, cpu, memory, pressure
from celeryops.autoscale.decision import Sample
from celeryops.log import logger
from celeryops.redisclient import close, connect

INTERVAL = 1.0  # s
#: Share of a new count in that of running tasks, which swings: the last 3 s weigh most.
NEW = 0.3


class Sampler(threading.Thread):
    """Leaves its latest sample in an attribute; a reader takes it whole and needs no lock.

    Parameters:
        app: The application, for its broker.
        pids: The children of the pool.
        child_memory: Bytes that a child is expected to need at least.
    """

    def __init__(self, app: Any, pids: Callable[[], Iterable[int]], child_memory: Callable[[], int]) -> None:
        super().__init__(name="celeryops-sampler", daemon=True)
        self.latest: Sample | None = None
        self._app = app
        self._pids = pids
        self._child_memory = child_memory
        self._estimate = 0.0
        self._running: float | None = None
        self._client: Any = None
        self._keys: Callable[[], list[str]] = list
        self._complained = ""

    def run(self) -> None:
        while True:
            self.turn()
            time.sleep(INTERVAL)

    def turn(self) -> None:
        # What cannot be read is missing from the sample or makes the last one stale: nothing grows by that.
        try:
            self.latest = self._look()
            self._complained = ""
        except Exception as exc:
            if str(exc) != self._complained:
                self._complained = str(exc)
                logger.warning("celeryops: the autoscaler cannot look at the machine: %s", exc)

    def _look(self) -> Sample:
        errors = []
        queued = None
        try:
            queued = self._queued()
        except Exception as exc:
            errors.append(f"the queues cannot be read: {exc}")
            self._disconnect()
        seen = {pid: children.private_bytes(pid) for pid in self._pids()}
        sizes = {pid: size for pid, size in seen.items() if size is not None}
        self._estimate = children.estimated(self._estimate, sizes.values())
        claims = children.claims(self._estimate, self._child_memory(), sizes)
        left = memory.read()
        stalls = pressure.read("memory")
        # The time last: what is decided by it is as old as its oldest part at most.
        return Sample(
            at=time.monotonic(),
            memory_total=left.total,
            memory_available=left.available,
            committed=claims.committed,
            child_estimate=claims.estimate,
            children=len(sizes),
            cpus=cpu.allowed(),
            load=cpu.load(),
            running=self._count_running(),
            psi_memory_some=stalls.some,
            psi_memory_full=stalls.full,
            psi_cpu_some=pressure.read("cpu").some,
            psi_io_some=pressure.read("io").some,
            queued=queued,
            errors=tuple(errors),
        )

    def _count_running(self) -> float | None:
        now, before = cpu.running(), self._running
        self._running = now if now is None or before is None else before + NEW * (now - before)
        return self._running

    def _queued(self) -> int:
        if self._client is None:
            self._client, prefix = connect(self._app)
            options = self._app.conf.broker_transport_options
            queues = self._app.amqp.queues
            self._keys = lambda: backlog.keys(list(queues.consume_from), prefix, options)
        return backlog.count(self._client, self._keys())

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                close(client)
            except Exception as exc:
                logger.debug("celeryops: a connection of the autoscaler did not close: %s", exc)
