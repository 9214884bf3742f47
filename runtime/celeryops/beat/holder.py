"""The work of the beat that has the lease: look at what is due, send it through the fence, keep the
ledger."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import redis
from celery.schedules import crontab
from kombu.exceptions import OperationalError

from celeryops.beat import fence as fences
from celeryops.beat.agenda import Agenda, seconds
from celeryops.beat.fence import Attempt, Fence, fenced
from celeryops.beat.inner import Inner, last_ran
from celeryops.beat.lease import Held, Lease, clock
from celeryops.beat.ledger import Line, task_id
from celeryops.beat.options import ALL, Options
from celeryops.beat.slots import Grid, Step, first_baseline, next_step
from celeryops.log import logger

BATCH = 0.1  # s of sending after which the state of the lease is looked at again
RECHECK = 1.0  # s until an entry is looked at again that is due and has no slot
_TEMPORARY = (OperationalError, redis.RedisError, ConnectionError, TimeoutError)


class LeaseLostError(Exception):
    """This beat has no lease any more."""


class LedgerMovedError(Exception):
    """The ledger says something else than this beat's copy of it."""


class UnreachableError(Exception):
    """The broker does not take a task now."""


class Holder:
    """Made when the lease is taken, thrown away when it is gone.

    Parameters:
        app: The application.
        fleet: Name of the fleet.
        scheduler: The inner scheduler, with its schedule set up.
        lease, held: The lease, and this beat's hold on it.
        options: What beat goes by.
        progress: Called as often as something was done, for who watches the main loop.
    """

    def __init__(
        self, app: Any, fleet: str, scheduler: Any, lease: Lease, held: Held, options: Options, progress: Any
    ) -> None:
        self.bypassed: str = ""  # the entry that last went around the fence
        self._app = app
        self._fleet = fleet
        self._inner = Inner(scheduler)
        self._lease = lease
        self._token = held.token
        self._epoch = held.epoch
        self._options = options
        self._progress = progress
        self._since = _now()
        self._zone = app.timezone
        self._fence = Fence(fleet, app.conf.event_exchange)
        # A broker that does not answer for longer than the lease lasts has another holder by then.
        self._connection = fenced(
            app.connection_for_write(transport_options={"socket_timeout": max(1.0, lease.ttl)}), self._fence
        )
        self._producer = app.amqp.Producer(self._connection, auto_declare=False)
        self._agenda = Agenda()
        self._seen: dict[str, Any] | None = None
        self._entries: dict[str, Any] = {}
        self._grids: dict[str, tuple[Any, Grid]] = {}
        self._looked = 0.0
        self._warned: set[str] = set()
        self._ledger = lease.ledger()
        self._refresh()

    def work(self) -> float:
        """Send what is due; how many seconds until the next look.

        Raises:
            LeaseLostError: At once, or by the fence.
            LedgerMovedError: Another beat has sent meanwhile.
            UnreachableError: Redis does not take it; it stays due.
        """
        scheduler = self._inner.scheduler
        if scheduler.should_sync():
            scheduler._do_sync()
        following = self._agenda.next()
        due = following is not None and following[0] <= time.time()
        if due or clock() - self._looked >= scheduler.max_interval:
            self._refresh()
        began = clock()
        while (following := self._agenda.next()) is not None:
            pause = following[0] - time.time()
            if pause > 0:
                return min(pause, float(scheduler.max_interval))
            if clock() - began > BATCH:
                return 0.0
            held = self._lease.held
            if held is None or held.token != self._token or not held.valid():
                raise LeaseLostError
            self._look_at(self._agenda.pop())
            self._progress()
        return float(scheduler.max_interval)

    def close(self) -> None:
        """Let the inner scheduler store what it stores, and disconnect."""
        try:
            self._inner.close()
        finally:
            self._connection.release()

    def _refresh(self) -> None:
        # The same object stands for the same entries: only what sends them changes those, and that is here.
        self._looked = clock()
        entries = self._inner.entries()
        if entries is self._seen and len(entries) == len(self._entries):
            return
        self._seen = entries
        self._entries = dict(entries)
        now = _now()
        unknown = {
            name: Line(_utc(first_baseline(self._grid(name), _utc(last_ran(entry, now)), now)))
            for name, entry in self._entries.items()
            if name not in self._ledger
        }
        lines = self._lease.baselines(self._token, unknown)
        if lines is None:
            raise LeaseLostError
        self._ledger.update(lines)
        self._agenda.rebuild(list(self._entries), self._when)
        self._progress()

    def _when(self, name: str) -> float:
        """The time at which to look at an entry again."""
        due, pause = self._is_due(name)
        return time.time() + (0.0 if due else pause)

    def _is_due(self, name: str) -> tuple[bool, float]:
        entry = self._entries[name]
        scheduler = self._inner.scheduler
        try:
            self._inner.align(entry, self._ledger[name], self._zone)
            due, pause = scheduler.is_due(entry)
        except Exception:
            # One entry that cannot be reckoned must not stop the others.
            logger.exception("beat: cannot reckon when %s runs next, looking again in a while", name)
            return False, float(scheduler.max_interval)
        return bool(due), seconds(pause, float(scheduler.max_interval))

    def _look_at(self, name: str) -> None:
        due, pause = self._is_due(name)
        if not due:
            self._agenda.enter(name, time.time() + pause)
            return
        step = self._step(name)
        if step is None:
            self._agenda.enter(name, time.time() + RECHECK)
            return
        if step.dropped and name not in self._warned:
            self._warned.add(name)
            logger.warning(
                "beat: %s has missed more than %d slots; the oldest are not sent any more",
                name,
                self._options.catch_up_limit,
            )
        elif not step.dropped:
            self._warned.discard(name)
        try:
            self._take(name, step)
        except UnreachableError:
            self._agenda.enter(name, time.time())
            raise
        self._agenda.enter(name, self._when(name))

    def _step(self, name: str) -> Step | None:
        policy = self._options.policy(name)
        limit = self._options.catch_up_limit if policy == ALL else 1
        grid = self._grid(name)
        now = _now()
        last = self._ledger[name].slot
        starting = self._app.conf.get("beat_cron_starting_deadline")
        if starting is not None and isinstance(grid.of, crontab):
            last = max(last, now - timedelta(seconds=starting, microseconds=1))
        return next_step(grid.pending(last, now, limit), policy, self._since)

    def _take(self, name: str, step: Step) -> None:
        entry, before = self._entries[name], self._ledger[name]
        if step.send:
            identifier = task_id(self._fleet, name, step.slot)
            after = Line(step.slot, before.count + 1, identifier)
            self._send(name, entry, Attempt(self._token, name, before, after))
        else:
            after = Line(step.slot, before.count, before.push)
            self._pass_over(name, before, after)
        self._ledger[name] = after
        try:
            following = self._inner.advance(entry, after, self._zone)
        except Exception:
            # The task is sent and the ledger knows it; align puts right what the scheduler keeps for itself.
            logger.exception("beat: %s was sent, and its scheduler could not note that", name)
        else:
            self._entries[name] = following

    def _send(self, name: str, entry: Any, attempt: Attempt) -> None:
        logger.info("Scheduler: Sending due task %s (%s)", name, entry.task)
        headers = {
            "celeryops_beat": {"entry": name, "slot": attempt.after.slot.isoformat(), "epoch": self._epoch}
        }
        self._fence.attempt = attempt
        failure: Exception | None = None
        try:
            self._inner.send(entry, self._producer, attempt.after.push, headers)
        except Exception as exc:
            failure = exc
        finally:
            self._fence.attempt = None
        if attempt.result == fences.LOST:
            raise LeaseLostError
        if attempt.result == fences.MOVED:
            raise LedgerMovedError
        if attempt.result in (fences.PUSHED, fences.REPEATED):
            if failure is not None:
                logger.warning("beat: %s was sent; what Celery does after that failed: %s", name, failure)
            if not attempt.targets:
                logger.error(
                    "beat: %s was sent to an exchange with no queue bound for it: nobody gets it", name
                )
            return
        if self._lease.held is None:
            # Told to stop in the midst of it, which may be why it failed: the slot is not to be left out.
            raise LeaseLostError
        if failure is not None and _is_temporary(failure):
            raise UnreachableError(str(failure)) from failure
        if failure is not None:
            logger.error(
                "beat: %s cannot be sent, this slot is left out: %s", name, failure, exc_info=failure
            )
        else:
            self.bypassed = name
            logger.critical(
                "beat: %s (%s) was sent around the fence, so it may be sent by another host as well. "
                "Its task class overrides apply_async and does not pass `producer` on, or "
                "task_always_eager is set",
                name,
                entry.task,
            )
        self._pass_over(name, attempt.before, attempt.after)

    def _pass_over(self, name: str, before: Line, after: Line) -> None:
        try:
            result = self._lease.pass_over(self._token, name, before, after)
        except _TEMPORARY as exc:
            raise UnreachableError(str(exc)) from exc
        if result == fences.LOST:
            raise LeaseLostError
        if result == fences.MOVED:
            raise LedgerMovedError

    def _grid(self, name: str) -> Grid:
        of = self._entries[name].schedule
        known = self._grids.get(name)
        if known is None or known[0] is not of:
            known = self._grids[name] = (of, Grid(of))
        return known[1]


def _is_temporary(failure: BaseException | None) -> bool:
    """Whether the broker's state is behind a failure, so that the same will work later."""
    while failure is not None:
        if isinstance(failure, _TEMPORARY):
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)
