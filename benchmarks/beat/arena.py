"""One fleet of three candidates on a Redis of its own, and what was seen of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from benchmarks.beat.application import PREFIX, QUEUE
from benchmarks.beat.candidates import FLEET, Candidate, Lease, RedBeat
from benchmarks.beat.consumer import Consumer, Push
from benchmarks.beat.servers import Pair, Single
from tests.support.waiting import until

HOSTS = ("one", "two", "three")
PATIENCE = 60.0  # s until a takeover counts as failed


class Epochs(threading.Thread):
    """Watches the epoch in Redis, several times in each second; counts how often it went backwards."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        super().__init__(name="epochs", daemon=True)
        self.regressions = 0
        self._connect = connect
        self._last = 0
        self._ended = False

    def run(self) -> None:
        while not self._ended:
            try:
                with self._connect() as client:
                    while not self._ended:
                        self._look(client)
                        time.sleep(0.1)
            except (redis.RedisError, OSError):
                time.sleep(0.1)

    def _look(self, client: redis.Redis) -> None:
        names = [f"{PREFIX}celeryops:{FLEET}:beat:{key}" for key in ("epoch", "lease")]
        found: Any = client.mget(names)
        counter, lease = found
        epoch = int(counter or 0)
        if lease:
            epoch = max(epoch, int(lease.split(b"|")[0]))
        self.regressions += epoch < self._last
        self._last = max(epoch, self._last)

    def end(self) -> None:
        self._ended = True
        if self.ident is not None:
            self.join(5)


class Arena:
    """Starts everything, and knows at any time who holds the lease: who pushed last.

    Parameters:
        folder: New folder for logs and data.
        system: What is measured.
        servers: The Redis.
        skews: s by which the clock of each host is ahead.
    """

    def __init__(
        self,
        folder: Path,
        system: Lease | RedBeat,
        servers: Single | Pair,
        skews: tuple[int, ...] = (0, 0, 0),
    ) -> None:
        self.system = system
        self.servers = servers
        self.crashes = 0
        self.hosts = [
            system.candidate(folder / host, host, servers, skew)
            for host, skew in zip(HOSTS, skews, strict=True)
        ]
        self.consumer = Consumer(servers.client, PREFIX + QUEUE)
        self.epochs = Epochs(servers.client)

    @property
    def pushes(self) -> list[Push]:
        return self.consumer.pushes

    def __enter__(self) -> Arena:
        try:
            self.servers.start()
            self.consumer.start()
            self.epochs.start()
            for host in self.hosts:
                host.start()
            self.calm()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for host in self.hosts:
            host.end()
        time.sleep(0.2)  # for the last messages to be read
        self.consumer.end()
        self.epochs.end()
        self.servers.stop()

    def calm(self) -> None:
        """Revive whoever has died, and wait until one pushes and the others stand by."""
        with self.servers.client() as client:
            until(lambda: self._all_ready(client), "every candidate is there")
        self.first_push(time.monotonic())
        time.sleep(1)

    def _all_ready(self, client: redis.Redis) -> bool:
        self._revive_crashed()
        for host in self.hosts:
            if not host.alive():
                host.start()
        return self.system.ready(self.hosts, client)

    def _revive_crashed(self) -> None:
        """As a supervisor does it; whom the benchmark itself has ended comes back when it says so."""
        for host in self.hosts:
            if host.crashed():
                self.crashes += 1
                host.start()

    def holder(self) -> Candidate:
        last = self.pushes[-1].pid
        return next(host for host in self.hosts if host.pid == last)

    def first_push(self, after: float, other_than: int = 0) -> Push:
        """The first message that came after this moment, from another process than this."""
        begin = len(self.pushes) - 1
        while begin > 0 and self.pushes[begin].at > after:
            begin -= 1

        def found() -> Push | None:
            self._revive_crashed()
            late = self.pushes[max(begin, 0) :]
            return next((push for push in late if push.at > after and push.pid != other_than), None)

        push: Push = until(found, "a push after the fault", PATIENCE)
        return push
