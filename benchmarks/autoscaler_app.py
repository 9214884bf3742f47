"""What the workers of autoscaler.py run: its tasks, and probes in the worker's event loop.

BENCH_BALLAST    bytes that the application holds before its processes are forked, as a large one does
BENCH_SETTINGS   Celery settings as JSON, for a worker without the runtime
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import Any

import redis
from celery import Celery, signals
from celery.worker.control import control_command

RESOLUTION = 0.002  # s between two signs of life of the event loop
TICK = 0.005  # s between two ticks of the autoscaler while they are measured
DECISIONS = 50  # by the same arguments in a row: one alone takes little longer than to read the clock

app = Celery("autoscaler_app")
app.conf.update(json.loads(os.environ.get("BENCH_SETTINGS", "{}")))
ballast = bytearray(os.urandom(4096)) * (int(os.environ.get("BENCH_BALLAST", "0")) // 4096)
books = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])


@app.task
def noop() -> None:
    """As little as a task can do."""


@app.task
def nap(number: int, seconds: float) -> None:
    time.sleep(seconds)
    books.sadd("done", number)


@app.task
def fill(number: int, size: int, seconds: float) -> None:
    """Hold memory for a while; the bytes are written, so that they are really taken."""
    held = bytearray(os.urandom(4096)) * (size // 4096)
    time.sleep(seconds)
    books.sadd("done", number)
    del held


class Probes:
    """Times in seconds, measured in the worker's main process since the last reset."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.last = time.perf_counter()
        self.reset()
        worker.hub.call_repeatedly(RESOLUTION, self.live)

    def reset(self) -> None:
        self.gap = 0.0
        self.ticks: list[float] = []
        self.decisions: list[float] = []
        self.arguments: tuple[Any, ...] = ()

    def live(self) -> None:
        now = time.perf_counter()
        self.gap, self.last = max(self.gap, now - self.last), now

    def watch_ticks(self) -> None:
        """Many more ticks than a worker has, each measured; decisions too, where the autoscaler has them."""
        scaler = self.worker.autoscaler

        def tick() -> None:
            before = _children(self.worker)
            began = time.perf_counter()
            scaler.maybe_scale()
            took = time.perf_counter() - began
            if _children(self.worker) == before:
                self.ticks.append(took)

        if hasattr(scaler, "describe"):
            from celeryops.autoscale import decision

            decide = decision.decide

            def remember(*args: Any) -> Any:
                self.arguments = args
                return decide(*args)

            def measure() -> None:
                arguments = self.arguments
                began = time.perf_counter()
                for _ in range(DECISIONS):
                    decide(*arguments)
                self.decisions.append((time.perf_counter() - began) / DECISIONS)

            decision.decide = remember
            tick()
            self.worker.hub.call_repeatedly(10 * TICK, measure)
        self.worker.hub.call_repeatedly(TICK, tick)


def _children(worker: Any) -> list[int]:
    return [child.pid for child in worker.pool._pool._pool]


@signals.worker_ready.connect
def begin(sender: Any, **_: Any) -> None:
    sender.controller.probes = Probes(sender.controller)


@control_command()
def probe(state: Any, what: str) -> dict[str, Any]:
    """`reset`, `ticks` or `read`."""
    probes = state.consumer.controller.probes
    if what == "reset":
        probes.reset()
    elif what == "ticks":
        probes.watch_ticks()
    return {
        "loop_block_ms": probes.gap * 1e3,
        "ticks": len(probes.ticks),
        "tick_us_p50": _percentile(probes.ticks, 50),
        "tick_us_p99": _percentile(probes.ticks, 99),
        "decide_us_p50": _percentile(probes.decisions, 50),
    }


def _percentile(seconds: list[float], percent: int) -> float | None:
    if len(seconds) < 2:
        return None
    return statistics.quantiles(seconds, n=100)[percent - 1] * 1e6
