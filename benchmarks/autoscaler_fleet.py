"""The private Redis of autoscaler.py, and its workers, each with a database of its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import billiard
import celery
import kombu
from celeryops.autoscale import children, memory
from celeryops.settings import choose, merge, version_tuple

from tests.support.redis import RedisServer
from tests.support.waiting import until

__all__ = ["MB", "STOCK", "Fleet", "Worker", "until"]

MB = 1000**2
STOCK = True
NODE = "bench-1@bench"
RUNTIME = Path(__file__).resolve().parents[1] / "runtime"
#: A task is its own reply: results and events would be measured instead of the pool.
PLAIN = {"task_ignore_result": True, "worker_send_task_events": False, "task_send_sent_event": False}
QUIET = 5.0  # s until a worker is given up


class Fleet:
    """Everything is stopped by `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = RedisServer(folder, "--appendonly", "yes").start()
        self.workers: list[Worker] = []
        self._numbers = itertools.count()

    def worker(
        self,
        stock: bool,
        low: int,
        high: int,
        guards: dict[str, Any],
        prefix: list[str] | None = None,
        settings: dict[str, Any] | None = None,
        **environment: str,
    ) -> Worker:
        """One with the runtime, and with Celery's own autoscaler or the fleet's."""
        chosen = {**PLAIN, **(settings or {})}
        if stock:
            chosen["worker_autoscaler"] = "celery.worker.autoscale:Autoscaler"
        number = next(self._numbers)
        names = {name: self.folder / f"{name}-{number}.json" for name in ("settings", "limits")}
        names["settings"].write_text(json.dumps({"settings": chosen}))
        names["limits"].write_text(json.dumps({"min": low, "max": high, **guards}))
        environment |= {
            "CELERY_LOADER": "celeryops.loader:FleetLoader",
            "CELERYOPS_FLEET": "bench",
            "CELERYOPS_HOST": "bench",
            "CELERYOPS_POOL": "bench",
            "CELERYOPS_NODE": "bench-1",
            "CELERYOPS_RELEASE": "1",
            "CELERYOPS_FINGERPRINT": "0",
            "CELERYOPS_SETTINGS": str(names["settings"]),
            "CELERYOPS_AUTOSCALE_FILE": str(names["limits"]),
            "AUTOSCALE_KEEPALIVE": str(guards["idle"]),
        }
        return self._start(number, [f"--autoscale={high},{low}"], environment, prefix or [])

    def bare_worker(self, processes: int) -> Worker:
        """One without the runtime, whose application sets what the runtime would."""
        versions = version_tuple(celery.__version__), version_tuple(kombu.__version__)
        choices = choose({}, PLAIN, *versions, broker_redis=True, results_redis=False)
        settings = {name: value for name, value in merge({}, choices).items() if name != "worker_autoscaler"}
        return self._start(
            next(self._numbers), [f"-c{processes}"], {"BENCH_SETTINGS": json.dumps(settings)}, []
        )

    def _start(self, number: int, words: list[str], environment: dict[str, str], prefix: list[str]) -> Worker:
        # A worker of its own database: 16 there are, and never as many run at once.
        worker = Worker(self.server, number % 16, words, environment, prefix, self.folder / f"{number}.log")
        self.workers.append(worker)
        worker.wait()
        return worker

    def available(self) -> int:
        """Bytes of memory that the machine has left."""
        return memory.read().available

    def versions(self) -> dict[str, str]:
        return {
            "celery": celery.__version__,
            "kombu": kombu.__version__,
            "billiard": billiard.__version__,
            "redis": self.server.client().info("server")["redis_version"],
        }

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.server.stop()


class Worker:
    """A worker in a session of its own, and what is known of it from outside."""

    def __init__(
        self,
        server: RedisServer,
        database: int,
        words: list[str],
        environment: dict[str, str],
        prefix: list[str],
        log: Path,
    ) -> None:
        url = server.at(database)
        self.books = server.client(database)
        self.books.flushdb()
        self.app = celery.Celery(broker=url, set_as_current=False)
        self.log = log
        self.sent = 0
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-m", "celery", "-A", "autoscaler_app", "worker"),
                    *("-n", NODE, "-l", "warning", *words),
                ],
                cwd=Path(__file__).parent,
                env={
                    **inherited,
                    "PYTHONPATH": str(RUNTIME),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "CELERY_BROKER_URL": url,
                    **environment,
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        until(lambda: self.app.control.ping([NODE], timeout=0.5), f"it answers; see {self.log}", 60)
        # Of the processes that were started before this one, the first that celery is.
        self.main = next(pid for pid in self._family() if b"autoscaler_app" in _command(pid))

    def send(self, task: str, count: int, *arguments: Any) -> None:
        with self.app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                self.sent += 1
                words = (self.sent, *arguments) if arguments else ()
                self.app.send_task(f"autoscaler_app.{task}", words, producer=producer, ignore_result=True)

    def drain(self, task: str, count: int) -> float:
        """Seconds in which so many messages that lie in Redis are taken and done."""
        self.app.control.cancel_consumer("celery", destination=[NODE], reply=True, timeout=QUIET, limit=1)
        self.send(task, count)
        began = time.perf_counter()
        self.app.control.add_consumer("celery", destination=[NODE])
        until(lambda: not self.waiting() and not self.held(), "all is done", 300, step=0.005)
        return time.perf_counter() - began

    def limits(self, low: int, high: int) -> None:
        self.app.control.autoscale(high, low, destination=[NODE])

    def probe(self, what: str) -> dict[str, Any]:
        (answer,) = self.app.control.broadcast(
            "probe", {"what": what}, destination=[NODE], reply=True, timeout=QUIET, limit=1
        )
        return dict(answer[NODE])

    def waiting(self) -> int:
        return int(self.books.llen("celery"))

    def held(self) -> int:
        """Messages that the worker has taken and not yet acknowledged."""
        return int(self.books.hlen("unacked"))

    def done(self) -> int:
        return int(self.books.scard("done"))

    def active(self) -> bool:
        """Whether the worker holds a message, running or not; one that is late with its answer does."""
        asked = self.app.control.inspect([NODE], timeout=QUIET, limit=1)
        return any((answer or {NODE: [1]})[NODE] for answer in (asked.active(), asked.reserved()))

    def processes(self) -> int:
        """Children of the worker, by the kernel's account."""
        return len(_children(self.main))

    def private_bytes(self) -> int:
        return sum(children.private_bytes(pid) or 0 for pid in [self.main, *_children(self.main)])

    def stop(self) -> None:
        """Without a farewell: what is to be measured has been."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _family(self) -> list[int]:
        return [self._process.pid, *_children(self._process.pid)]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
