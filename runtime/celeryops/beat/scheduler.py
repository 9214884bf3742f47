"""Beat's scheduler on every candidate host: it stands by, takes the lease, works, and hands over."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import Any

from celery import beat

from celeryops.beat.holder import Holder, LeaseLostError, LedgerMovedError, UnreachableError
from celeryops.beat.inner import find
from celeryops.beat.lease import Held, Lease, clock
from celeryops.beat.options import Options
from celeryops.beat.watch import Bell, Progress, Renewer
from celeryops.identity import Identity
from celeryops.log import logger, mask
from celeryops.redisclient import NotRedisError
from celeryops.settings import is_redis

STANDBY, PROMOTING, HOLDER, STOPPING = "standby", "promoting", "holder", "stopping"
UNFIT = 10.0  # s for which a candidate that could not begin leaves the lease to others
JITTER = 0.2  # of the poll, so that candidates do not ask in step


class LeaseScheduler(beat.Scheduler):
    """A scheduler around another one, which sends on one host at a time.

    The inner scheduler is made when the lease is taken, and thrown away when it is gone: setting up a
    schedule may write to a store that all hosts share, so a host that stands by must not.
    """

    celeryops_lease = True
    lock_key = (
        None  # RedBeat's handler of beat_init looks for a lock to take here, wherever RedBeat is imported
    )

    def __init__(self, app: Any, *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        self._options = Options.from_env()
        self._kind = find(app, self._options.scheduler)
        self._arguments = kwargs
        self._me = Identity.from_env()
        self._node = f"{self._me.node or 'beat'}@{self._me.host}"
        self._holder: Holder | None = None
        self._state = STANDBY
        self._trouble = ""
        self._unfit_until = 0.0
        self._silent = False
        self._begun = False
        self._closed = False
        self._in_tick = False
        self._woken = threading.Event()
        self._progress = Progress()
        longest = kwargs.get("max_interval") or app.conf.beat_max_loop_interval or self._kind.max_interval
        super().__init__(app, lazy=True, max_interval=longest)
        if not lazy and not is_redis(app.conf.broker_write_url):
            raise NotRedisError(
                f"the broker {mask(app.conf.broker_write_url)} is not Redis: beat on one host of several "
                "needs a lease in Redis. Set celery_broker_url to a redis://, rediss://, redis+socket:// or "
                "sentinel:// URL"
            )
        self._lease = Lease(
            app,
            self._me.fleet,
            self._node,
            self._me.host,
            self._options.lease,
            self._options.poll,
            self._describe_as_text,
            self._options.token,
        )
        self._renewer = Renewer(self._lease, self._progress, self._woken.set)
        self._bell = Bell(self._lease, self._rung)

    @property
    def inner_name(self) -> str:
        return f"{self._kind.__module__}:{self._kind.__qualname__}"

    @property
    def info(self) -> str:
        return f"    . lease -> {self._options.lease:g} s, around {self.inner_name}"

    def describe(self) -> dict[str, Any]:
        """This candidate, for the books."""
        held = self._lease.held
        return {"state": self._state, "epoch": held.epoch if held else 0, "trouble": self._trouble}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One look, and a rest of at most a poll. A standby's tick returns too: the watchdog is fed."""
        if not self._begun:
            # Not before: Celery makes a second instance for its banner, and may fork in between.
            self._begun = True
            self._renewer.start()
            self._bell.start()
        self._in_tick = True
        try:
            if self._closed:
                # The SystemExit by which Celery's signal handler ends beat may have become another error on
                # its way up through what it has interrupted.
                raise SystemExit
            self._progress()
            pause = self._work() if self._holder else self._stand_by()
            if pause > 0:
                self._woken.wait(min(pause, self._options.poll))
                self._woken.clear()
        finally:
            self._in_tick = False
        return 0.0

    def should_sync(self) -> bool:
        return False

    def close(self) -> None:
        """Give the lease back. A signal handler calls it, in the midst of whatever, and Celery at the end."""
        if not self._closed:
            self._closed = True
            self._state = STOPPING
            self._renewer.end()
            self._bell.end()
            try:
                self._lease.release(gone=True)
            except Exception as exc:
                logger.warning("beat: the lease could not be given back, it runs out by itself: %s", exc)
        if not self._in_tick:
            # A connection that is taken from under a tick fails in ways that hide why.
            self._close_holder()
            self._lease.disconnect()

    def _stand_by(self) -> float:
        self._lease.fit = clock() >= self._unfit_until
        try:
            answer = self._lease.acquire()
        except Exception as exc:
            if not self._silent:
                self._silent = True
                logger.error("beat: Redis does not answer, so nobody knows who may send: %s", exc)
            return self._options.poll
        if self._silent:
            self._silent = False
            logger.info("beat: Redis answers again")
        if answer.held is not None:
            self._promote(answer.held)
            return 0.0
        poll = self._options.poll * random.uniform(1 - JITTER, 1)
        # Somebody else's lease that nobody renews is free then, and not a moment before.
        return poll if answer.left is None else min(poll, answer.left + 0.005)

    def _promote(self, held: Held) -> None:
        self._state = PROMOTING
        self._renewer.hand_over.clear()
        began = clock()
        try:
            scheduler = self._kind(app=self.app, **self._arguments)
            self._holder = Holder(
                self.app, self._me.fleet, scheduler, self._lease, held, self._options, self._progress
            )
        except LeaseLostError:
            self._demote("the lease was lost while the schedule was read")
        except Exception as exc:
            logger.exception("beat: this host has the lease and cannot read its schedule")
            self._trouble = f"cannot read its schedule: {exc}"
            self._unfit_until = clock() + UNFIT
            self._give_back("its schedule cannot be read")
        else:
            self._trouble = ""
            self._state = HOLDER
            logger.info(
                "beat: %s sends from now on, epoch %d (%.3f s)", self._node, held.epoch, clock() - began
            )

    def _work(self) -> float:
        assert self._holder is not None
        if self._renewer.hand_over.is_set():
            self._give_back("beat shall run on another host")
            return 0.0
        held = self._lease.held
        if held is None or not held.valid():
            self._demote("the lease ran out or was taken away")
            return 0.0
        try:
            pause = self._holder.work()
        except LeaseLostError:
            self._demote("the lease is not ours any more")
            return 0.0
        except LedgerMovedError:
            # Whoever moved it had the lease at the time. Begin as one who has just taken it.
            logger.warning("beat: the ledger has changed, it is read again")
            self._close_holder()
            self._promote(held)
            return 0.0
        except UnreachableError as exc:
            if not self._trouble:
                logger.error("beat: the broker takes no task: %s", exc)
            self._trouble = f"the broker takes no task: {exc}"
            return self._options.poll
        self._trouble = self._holder.bypassed and f"{self._holder.bypassed} is sent around the fence"
        return pause

    def _give_back(self, why: str) -> None:
        try:
            self._lease.release(gone=False)
        except Exception as exc:
            logger.warning("beat: the lease could not be given back, it runs out by itself: %s", exc)
        self._demote(why)

    def _demote(self, why: str) -> None:
        logger.warning("beat: %s stands by: %s", self._node, why)
        self._lease.drop()
        self._state = STANDBY
        self._renewer.hand_over.clear()
        self._close_holder()

    def _close_holder(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None:
            return
        try:
            holder.close()
        except Exception:
            logger.exception("beat: its scheduler could not be closed")

    def _rung(self) -> None:
        self._renewer.soon()
        if self._state == STANDBY:
            self._woken.set()

    def _describe_as_text(self) -> str:
        me = self._me
        return json.dumps(
            {
                "node": self._node,
                "host": me.host,
                "pid": os.getpid(),
                "release": me.release,
                "fingerprint": me.fingerprint,
                "scheduler": self.inner_name,
                "clock": time.time(),
                "tick_age": round(self._progress.age(), 3),
                **self.describe(),
            },
            separators=(",", ":"),
        )
