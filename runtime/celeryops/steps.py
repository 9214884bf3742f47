"""The worker's bootsteps: a member of the fleet beside the worker, and a pulse from its event loop."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from celeryops import pulse as phases
from celeryops.log import harmless, logger
from celeryops.member import Member
from celeryops.pulse import Pulse, may_keep_worker
from celeryops.settings import BROKER_OPTIONS

TICK = 1.0  # s between two pulses of the event loop


class MemberStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the member once the pool runs, so that the first pool processes are forked without its threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        worker.celeryops = None
        super().__init__(worker, **kwargs)

    @harmless
    def create(self, worker: Any) -> None:
        # The watchdog kills with SIGABRT: the journal then shows where every thread hung.
        faulthandler.enable(sys.__stderr__ or 2)
        member = Member("worker", worker.hostname, worker.app, lambda: describe_worker(worker), _may_feed)
        worker.celeryops = member

        def connect(signal: Any, reaction: Callable[[], None]) -> None:
            signal.connect(harmless(lambda **_: reaction()), weak=False)

        connect(signals.worker_ready, member.ready)
        connect(signals.worker_shutting_down, member.stopping)
        connect(signals.worker_shutdown, member.close)

    @harmless
    def start(self, worker: Any) -> None:
        if worker.celeryops is not None:
            worker.celeryops.start()
        timeout = (worker.app.conf.get(BROKER_OPTIONS) or {}).get("visibility_timeout")
        if worker.time_limit and timeout and worker.time_limit >= timeout:
            logger.warning(
                "celeryops: the time limit of %g s is not below the visibility timeout of %g s: "
                "Redis hands such a task to a second worker while this one still runs it",
                worker.time_limit, timeout,
            )

    def stop(self, worker: Any) -> None:
        """Nothing yet: tasks may still run, and the record and the watchdog stay with them until the very end."""

    terminate = stop


class LoopStep(bootsteps.Step):  # type: ignore[misc]
    """Wraps the consumer's event loop, the one place that knows when the loop begins and how it ends."""

    @harmless
    def create(self, consumer: Any) -> None:
        member: Member | None = getattr(consumer.controller, "celeryops", None)
        if member is not None:
            consumer.loop = _with_pulse(consumer.loop, consumer, member)


def _with_pulse(loop: Callable[..., Any], consumer: Any, member: Member) -> Callable[..., Any]:
    beat = _Beat(member)

    def run(*args: Any, **kwargs: Any) -> Any:
        # Celery's timer is the event loop's own with prefork, threads and solo, and the hub of gevent and eventlet.
        entry = consumer.timer.call_repeatedly(beat.interval, beat)
        try:
            return loop(*args, **kwargs)
        except SystemExit:
            member.pulse.enter(phases.STOPPING)
            raise
        except Exception:
            member.pulse.enter(phases.RECONNECTING)
            raise
        finally:
            entry.cancel()

    return run


class _Beat:
    """One turn of the event loop: note it, and feed the watchdog when it is time."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._every = member.notifier.watchdog / 3
        self._fed = 0.0
        self.interval = min(TICK, self._every or TICK)

    @harmless
    def __call__(self) -> None:
        pulse = self._member.pulse
        pulse.tick()
        if pulse.phase == phases.RECONNECTING:
            pulse.enter(phases.READY)
        now = time.monotonic()
        if now - self._fed >= self._every - self.interval / 2:
            self._fed = now
            self._member.notifier.feed()


def _may_feed(pulse: Pulse) -> bool:
    redis_for = None if pulse.redis_since is None else time.monotonic() - pulse.redis_since
    return may_keep_worker(pulse.phase, pulse.loop_age(), redis_for)


def describe_worker(worker: Any) -> dict[str, Any]:
    """What only the worker knows. Called from other threads, so it reads sizes and never iterates live sets."""
    consumer = getattr(worker, "consumer", None)
    qos = getattr(consumer, "qos", None)
    active = len(state.active_requests)
    size: dict[str, Any] = {"concurrency": worker.concurrency}
    if worker.autoscale:
        size = {"autoscale": {"min": worker.min_concurrency, "max": worker.max_concurrency}}
    return {
        "queues": sorted(worker.app.amqp.queues.consume_from),
        "processes": worker.pool.num_processes if worker.pool else 0,
        **size,
        "prefetch_count": getattr(qos, "value", None),
        "active": active,
        "reserved": max(0, len(state.reserved_requests) - active),
        "rss_bytes": sum(rss_bytes(pid) for pid in [os.getpid(), *_children(worker)]),
    }


def _children(worker: Any) -> list[int]:
    processes = getattr(getattr(worker.pool, "_pool", None), "_pool", None)
    if not isinstance(processes, list):
        return []
    return [process.pid for process in list(processes) if getattr(process, "pid", None)]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, 0 where it is gone or the platform has no /proc."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as handle:
            return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
