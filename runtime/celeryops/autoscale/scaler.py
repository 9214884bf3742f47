"""Celery's autoscaler, with an eye on the machine. Named by ``worker_autoscaler``."""

from __future__ import annotations

import gc
import json
import os
import time
from typing import Any

from celery.concurrency.prefork import TaskPool
from celery.worker import state
from celery.worker.autoscale import Autoscaler

from celeryops.autoscale import decision as deciding
from celeryops.autoscale import gate, memory, shrink
from celeryops.autoscale.decision import Decision, Demand, Guards, Limits, Past
from celeryops.autoscale.sampler import Sampler
from celeryops.autoscale.settings import SettingsError, parse
from celeryops.log import harmless, logger

FILE = "CELERYOPS_AUTOSCALE_FILE"
TICK = 1.0  # s between two decisions when no message comes
PAUSE = 0.001  # s between two forks, in which the event loop does what else there is
#: Share of a new measurement in the mean time of a task.
NEW = 0.2


class ResourceAutoscaler(Autoscaler):
    """Grows with the work and never into the ground, on a prefork pool with Celery's event loop.

    Elsewhere it does what Celery's own does, and says so.

    Parameters:
        pool, max_concurrency, min_concurrency, worker, keepalive, mutex: As Celery's own. The file that
            ``CELERYOPS_AUTOSCALE_FILE`` names goes before them.
    """

    def __init__(
        self,
        pool: Any,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Any = None,
        keepalive: float = TICK,
        mutex: Any = None,
    ) -> None:
        self.given: dict[str, Any] = {"min": min_concurrency, "max": max_concurrency}
        self.limits, self.guards = Limits(min_concurrency, max_concurrency), Guards()
        self.trouble = ""
        self._read_file(os.environ.get(FILE, ""))
        super().__init__(pool, self.limits.max, self.limits.min, worker, TICK, mutex)
        # The consumer, which comes later, prefetches for these.
        worker.max_concurrency, worker.min_concurrency = self.limits.max, self.limits.min
        self.knows_machine = bool(worker.use_eventloop) and isinstance(pool, TaskPool)
        if self.knows_machine:
            worker.app.steps["consumer"].add(gate.AttachStep)
        else:
            logger.error(
                "celeryops: the autoscaler of the fleet needs the prefork pool; here it is Celery's own"
            )
        self.decision = Decision(0, deciding.STEADY, self.limits.min, 0, max(1, self.limits.min))
        self.held_since: float | None = None
        self._past = Past()
        self._to_fork = 0
        self._task_seconds: float | None = None
        self._busy = 0.0
        self._counted = (time.monotonic(), 0)
        self._sampler: Sampler | None = None

    # -- what Celery calls --------------------------------------------------------------------------

    def maybe_scale(self, req: Any = None) -> None:
        """For every message that comes, and every `TICK`."""
        if not self.knows_machine:
            super().maybe_scale(req)
            return
        if req is not None:
            # Most messages change nothing: there is a process for them, or there can be no more.
            processes = self.processes + self._to_fork
            if processes >= self.limits.max or len(state.reserved_requests) < processes:
                return
        self._turn(req is None)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:
        """What ``celery control autoscale`` asks for; the guards stay."""
        wanted = dict(self.given)
        wanted.update({name: value for name, value in (("max", max), ("min", min)) if value is not None})
        if self.knows_machine:
            self.apply(wanted)
        else:
            super().update(max, min)
        return self.max_concurrency, self.min_concurrency

    def info(self) -> dict[str, Any]:
        """A part of ``inspect stats``."""
        return {**super().info(), **(self.describe() if self.knows_machine else {})}

    # -- what the fleet calls -----------------------------------------------------------------------

    def attach(self, consumer: Any) -> None:
        """Once for each connection, when the consumer is ready."""
        # What was to be forked was to be forked by timers of the last connection.
        self._to_fork = 0
        if self._sampler is None:
            # Celery collects garbage before each fork, with 60 ms for a small application; what stands by now
            # stays. Its pages stay shared with the children, too.
            gc.collect()
            gc.freeze()
            self._sampler = Sampler(self.worker.app, self._pids, lambda: self.guards.child_memory)
            self._sampler.start()
        gate.install(consumer, self.message_limit)

    def message_limit(self) -> int:
        """How many messages may be reserved now."""
        limit = max(self.decision.limit, 1 if self.limits.min else 0)
        if limit < self.processes or getattr(self.worker.app.conf, "worker_disable_prefetch", False):
            # With more messages than that, the processes that are to go would never be idle.
            return limit
        return limit * max(1, self.worker.prefetch_multiplier)

    def check(self, given: dict[str, Any]) -> tuple[Limits, Guards]:
        """Limits and guards as they would be; SettingsError says what cannot be."""
        if not self.knows_machine:
            raise SettingsError(
                "this pool is not prefork, so it has Celery's own autoscaler, which has no guards"
            )
        return parse(given, memory.read().total)

    def apply(self, given: dict[str, Any]) -> None:
        """Live from now on: too many processes go as they fall idle, missing ones come at once."""
        self.limits, self.guards = self.check(given)
        self.given = {name: value for name, value in given.items() if value is not None}
        self._update_consumer_prefetch_count(self.limits.max)
        self.max_concurrency, self.min_concurrency = self.limits.max, self.limits.min
        # Celery's gate reads the first of these for every message.
        self.worker.max_concurrency, self.worker.min_concurrency = self.limits.max, self.limits.min
        self.trouble = ""
        self._turn(False)
        self._tell_the_books()

    def describe(self) -> dict[str, Any]:
        """For the record, the status line and the answers to remote commands. Any thread may call it."""
        made, sampler = self.decision, self._sampler
        sample = sampler.latest if sampler else None
        return {
            "min": self.limits.min,
            "max": self.limits.max,
            "given": self.given,
            "reason": made.reason,
            "text": deciding.explain(made.reason, self.limits, self.guards, sample),
            "want": made.want,
            "fit": made.fit,
            "limit": made.limit,
            "held": self.held_since is not None,
            "queued": sample.queued if sample else None,
            **({"trouble": self.trouble} if self.trouble else {}),
        }

    # -- how it is done -----------------------------------------------------------------------------

    def _read_file(self, path: str) -> None:
        if not path or not os.path.exists(path):
            # A node starts for the first time: it is told its guards when it runs.
            return
        try:
            with open(path, encoding="utf-8") as stream:
                given = json.load(stream)
            if not isinstance(given, dict):
                raise SettingsError("it holds no mapping")
            self.limits, self.guards = parse(given)
            self.given = given
        except (OSError, ValueError) as exc:
            self.trouble = f"{path} cannot be used, so --autoscale and the default guards hold: {exc}"
            logger.error("celeryops: %s", self.trouble)

    def _tell_the_books(self) -> None:
        # Who asks for other limits next goes by the record.
        member = getattr(self.worker, "celeryops", None)
        if member is not None:
            member.publish()

    @harmless
    def _turn(self, timed: bool) -> None:
        now = time.monotonic()
        active = len(state.active_requests)
        if timed:
            self._time_tasks(now, active)
        demand = Demand(
            self.processes + self._to_fork, active, len(state.reserved_requests), self._task_seconds
        )
        sample = self._sampler.latest if self._sampler else None
        made, self._past = deciding.decide(now, self.limits, self.guards, sample, demand, self._past)
        self._note(made, demand.processes)
        self.decision = made
        if made.change > 0:
            self._grow(made.change)
        elif made.change < 0:
            self._shrink(-made.change)

    def _note(self, made: Decision, processes: int) -> None:
        held = deciding.is_held(made, processes)
        if held and self.held_since is None:
            self.held_since = time.time()
        elif not held:
            self.held_since = None
        if made.reason != self.decision.reason and (held or made.reason.startswith("shrink_")):
            text = deciding.explain(
                made.reason, self.limits, self.guards, self._sampler.latest if self._sampler else None
            )
            level = logger.info if made.reason == deciding.SHRINK_IDLE else logger.warning
            level("celeryops: autoscaler %s: %s", made.reason, text)

    def _grow(self, n: int) -> None:
        # A fork of a large worker takes long, so there is one at a time.
        if not self._to_fork:
            self.worker.hub.call_later(PAUSE, self._fork)
        self._to_fork += n

    @harmless
    def _fork(self) -> None:
        if self._to_fork <= 0:
            return
        self._to_fork -= 1
        if self._to_fork:
            self.worker.hub.call_later(PAUSE, self._fork)
        self.pool.grow(1)
        self.pool.maintain_pool()

    def _shrink(self, n: int) -> None:
        waiting = min(n, self._to_fork)
        self._to_fork -= waiting
        if n > waiting:
            shrink.shrink(self.pool._pool, n - waiting, self.worker.hub)

    def _time_tasks(self, now: float, active: int) -> None:
        """The mean time of a task: time at work over tasks begun."""
        before, begun = self._counted
        total = sum(state.total_count.values())
        self._busy += active * (now - before)
        self._counted = (now, begun)
        if total > begun:
            seconds = self._busy / (total - begun)
            last = self._task_seconds
            self._task_seconds = seconds if last is None else last + NEW * (seconds - last)
            self._busy = 0.0
            self._counted = (now, total)

    def _pids(self) -> list[int]:
        return [child.pid for child in list(self.pool._pool._pool) if child.pid]
