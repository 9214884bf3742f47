"""Run a command once for the whole fleet and release, however many hosts ask for it.

Keys:
    celeryops:<fleet>:once                hash, ``<release>/<name>`` -> record of the last run, JSON
    celeryops:<fleet>:once:lease:<name>   who runs it now, with a TTL

Rules of the lease: its holder renews every third of the TTL, so a holder that dies frees it after at most
one TTL. Whoever waits runs the command itself only when the holder vanished without a record; when the
holder's run failed, the waiters report that failure, and the next call tries again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import redis

from celeryops.books import Books
from celeryops.identity import Identity
from celeryops.log import logger

LEASE_TTL = 30.0  # s
POLL = 0.5  # s
RECORD_PATIENCE = 60.0  # s to keep trying to record a run while Redis is away

_IF_OURS = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call({}) end return 0"
_RENEW = _IF_OURS.format("'PEXPIRE', KEYS[1], ARGV[2]")
_RELEASE = _IF_OURS.format("'DEL', KEYS[1]")


class WaitedTooLongError(Exception):
    """Another host holds the lease for longer than we may wait."""


class Once:
    """One command of one release.

    Parameters:
        books: Books of the fleet.
        name: Name of the step, e.g. ``migrate``.
        release: Version of the release; every release runs its steps anew.
        lease_ttl: Seconds after which a dead holder's lease is free.
    """

    def __init__(self, books: Books, name: str, release: str, lease_ttl: float = LEASE_TTL) -> None:
        self._redis = books.client
        self._hash = books.key("once")
        self._field = f"{release}/{name}"
        self._lease = books.key("once", "lease", name)
        self._ttl_ms = int(lease_ttl * 1000)
        self._token = f"{Identity.from_env().host}:{os.getpid()}:{uuid.uuid4().hex}"

    def run(self, command: Callable[[], int], timeout: float) -> dict[str, Any]:
        """Run `command` unless its success is on record; wait while another host runs it.

        Parameters:
            command: Returns the exit code.
            timeout: Seconds to wait for another host.

        Returns:
            ``{"ran": bool, "rc": int, "host": str, "finished": unix time, "seconds": float}``

        Raises:
            WaitedTooLongError: Another host still runs it.
        """
        deadline = time.monotonic() + timeout
        before = self._record()
        while True:
            record = self._record()
            if record is not None and (record["rc"] == 0 or record != before):
                return {"ran": False, **record}
            if self._redis.set(self._lease, self._token, nx=True, px=self._ttl_ms):
                break
            if time.monotonic() > deadline:
                holder = self._redis.get(self._lease)
                raise WaitedTooLongError(
                    f"{self._text(holder)} has been running {self._field} for over {timeout:g} s"
                )
            time.sleep(POLL)
        # Between the look at the record and the lease, the holder before us may have finished.
        record = self._record()
        if record is not None and (record["rc"] == 0 or record != before):
            self._redis.eval(_RELEASE, 1, self._lease, self._token)
            return {"ran": False, **record}
        return {"ran": True, **self._run_and_record(command)}

    def _run_and_record(self, command: Callable[[], int]) -> dict[str, Any]:
        ended = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(ended,), name="celeryops-lease", daemon=True)
        renewer.start()
        began = time.monotonic()
        try:
            rc = command()
            record = {
                "rc": rc,
                "host": Identity.from_env().host,
                "finished": round(time.time(), 3),
                "seconds": round(time.monotonic() - began, 3),
            }
            self._patiently(lambda: self._redis.hset(self._hash, self._field, json.dumps(record)))
        finally:
            ended.set()
            renewer.join()
            self._patiently(lambda: self._redis.eval(_RELEASE, 1, self._lease, self._token))
        return record

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(self._ttl_ms / 3000):
            try:
                if not self._redis.eval(_RENEW, 1, self._lease, self._token, self._ttl_ms):
                    # Redis forgot the lease, for instance over a restart. Take it back unless another has it.
                    self._redis.set(self._lease, self._token, nx=True, px=self._ttl_ms)
            except redis.RedisError as exc:
                logger.warning("celeryops: the lease of %s cannot be renewed: %s", self._field, exc)

    def _patiently(self, write: Callable[[], Any]) -> None:
        deadline = time.monotonic() + RECORD_PATIENCE
        while True:
            try:
                write()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL)

    def _record(self) -> dict[str, Any] | None:
        text = self._redis.hget(self._hash, self._field)
        return json.loads(text) if text else None

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value or "another host")


def execute(argv: Sequence[str]) -> int:
    """Run a command with its output on stderr, for stdout carries the answer in JSON."""
    try:
        process = subprocess.Popen(list(argv), stdout=sys.stderr)
    except OSError as exc:
        print(f"{argv[0]} cannot be run: {exc}", file=sys.stderr)
        return 127
    # Ending before the command does would free the lease while it still works.
    before = {
        number: signal.signal(number, lambda got, _: process.send_signal(got))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
