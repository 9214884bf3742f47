"""The worker's bootsteps: a member of the fleet beside the worker, and a pulse from its event loop."""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.concurrency.base import BasePool
from celery.worker import state

from celeryops import pulse as phases
from celeryops.log import harmless, logger
from celeryops.member import Member
from celeryops.pulse import Pulse, may_keep_worker
from celeryops.settings import BROKER_OPTIONS

CANCEL = "worker_cancel_long_running_tasks_on_connection_loss"
TICK = 1.0  # s between two pulses of the event loop


class MemberStep(bootsteps.StartStopStep):
    """Makes the member, and lets it begin when the worker is ready and its first processes are forked."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        worker.celeryops = None
        super().__init__(worker, **kwargs)

    @harmless
    def create(self, worker: Any) -> None:
        # The watchdog kills with SIGABRT: the journal then shows where every thread hung.
        faulthandler.enable(sys.__stderr__ or 2)
        _fit_to_pool(worker)
        # Also where nothing is autoscaled: such a node says so when it is asked.
        importlib.import_module("celeryops.autoscale.remote")
        member = Member("worker", worker.hostname, worker.app, lambda: describe_worker(worker), _may_feed)
        worker.celeryops = member

        def connect(signal: Any, reaction: Callable[[], None]) -> None:
            signal.connect(harmless(lambda **_: reaction()), weak=False)

        connect(signals.worker_ready, member.begin)
        connect(signals.worker_shutting_down, member.stopping)
        connect(signals.worker_shutdown, member.close)

    @harmless
    def start(self, worker: Any) -> None:
        if worker.celeryops is not None:
            worker.celeryops.notifier.status("starting, waiting for Redis and the first processes")
        timeout = (worker.app.conf.get(BROKER_OPTIONS) or {}).get("visibility_timeout")
        if worker.time_limit and timeout and worker.time_limit >= timeout:
            logger.warning(
                "celeryops: the time limit of %g s is not below the visibility timeout of %g s: "
                "Redis hands such a task to a second worker while this one still runs it",
                worker.time_limit,
                timeout,
            )

    def stop(self, worker: Any) -> None:
        """Nothing yet: tasks may still run, and record and watchdog stay with them until the very end."""

    terminate = stop


def _fit_to_pool(worker: Any) -> None:
    # Celery before 5.7 dies of NotImplementedError when it cancels the tasks of a pool of threads.
    if worker.pool_cls.terminate_job is BasePool.terminate_job:
        overlay = getattr(worker.app.loader, "overlay", None)
        if overlay is not None:
            overlay.drop(worker.app.conf, CANCEL, f"{worker.pool_cls.__name__} cannot cancel a running task")


class LoopStep(bootsteps.Step):
    """Wraps the consumer's event loop, the one place that knows when the loop begins and how it ends."""

    @harmless
    def create(self, consumer: Any) -> None:
        member: Member | None = getattr(consumer.controller, "celeryops", None)
        if member is not None:
            consumer.loop = _with_pulse(consumer.loop, consumer, member)


def _with_pulse(loop: Callable[..., Any], consumer: Any, member: Member) -> Callable[..., Any]:
    beat = _Beat(member)

    def run(*args: Any, **kwargs: Any) -> Any:
        # The event loop's own timer with prefork, threads and solo; a green thread's with gevent, eventlet.
        entry = consumer.timer.call_repeatedly(beat.interval, beat)
        try:
            return loop(*args, **kwargs)
        finally:
            entry.cancel()
            ending = isinstance(sys.exc_info()[1], (SystemExit, KeyboardInterrupt))
            running = consumer.blueprint.state == bootsteps.RUN and not ending
            member.pulse.enter(phases.RECONNECTING if running else phases.STOPPING)

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
    """What only the worker knows. Other threads call it, so it reads sizes and never iterates live sets."""
    consumer = getattr(worker, "consumer", None)
    qos = getattr(consumer, "qos", None)
    active = len(state.active_requests)
    size: dict[str, Any] = {"concurrency": worker.concurrency}
    if worker.autoscale:
        scaler = worker.autoscaler
        size = {"autoscale": {"min": scaler.min_concurrency, "max": scaler.max_concurrency}}
        if getattr(scaler, "knows_machine", False):
            size["autoscaler"] = scaler.describe()
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
