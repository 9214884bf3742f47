"""Two real servers, real messages, and the mover as a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import kombu.pools
import pytest
import redis

from tests.support.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
sys.path.insert(0, str(RUNTIME))


_producers: dict[tuple[str, str], celery.Celery] = {}


def producer(url: str, prefix: str = "") -> celery.Celery:
    """An application that only sends; closed after the test."""
    if (url, prefix) not in _producers:
        app = celery.Celery(broker=url, set_as_current=False, loader="app")
        app.conf.broker_transport_options = {"global_keyprefix": prefix}
        _producers[url, prefix] = app
    return _producers[url, prefix]


def place(url: str, fleet: str = "grove", prefix: str = "", **more: Any) -> dict[str, Any]:
    return {"fleet": fleet, "url": url, "options": {"global_keyprefix": prefix}, **more}


def question(
    here: dict[str, Any], there: dict[str, Any], action: str = "move", **more: Any
) -> dict[str, Any]:
    return {"action": action, "from": here, "to": there, **more}


def start(asked: dict[str, Any]) -> subprocess.Popen[str]:
    """The mover as a deploy starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celeryops", "move"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked))
    process.stdin.close()
    process.stdin = None
    return process


_PRODUCER = """
import sys, time
import celery
app = celery.Celery(broker=sys.argv[1], set_as_current=False, loader="app")
number = int(sys.argv[2])
for line in sys.stdin if sys.argv[3] == "asked" else iter(str, None):
    app.send_task("grove.touch", args=[number], queue="oak")
    print(number, flush=True)
    number += 1
    time.sleep(float(sys.argv[4]))
"""


class Producer:
    """A process that sends its numbers to the queue oak: all the time, or one whenever it is asked."""

    def __init__(self, url: str, first: int = 0, asked: bool = False, pause: float = 0.001) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _PRODUCER,
                url,
                str(first),
                "asked" if asked else "always",
                str(pause),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = first

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> list[int]:
        """End it; returns every number that it may have sent, the last one perhaps not."""
        self._process.terminate()
        out, _ = self._process.communicate()
        return [int(line) for line in out.split()]


def sent(client: redis.Redis, queue: str) -> list[int]:
    """The first argument of every message of a queue, the next to run first."""
    import base64

    found = []
    for message in reversed(client.lrange(queue, 0, -1)):
        found.append(json.loads(base64.b64decode(json.loads(message)["body"]))[0][0])
    return found


@pytest.fixture(autouse=True)
def close_producers() -> Iterator[None]:
    yield
    for app in _producers.values():
        app.close()
    _producers.clear()
    # They keep in mind which queues they have declared, and the next test empties the server.
    kombu.pools.reset()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        RedisServer(folder / "old", "--appendonly", "yes", password="first-secret") as old,
        RedisServer(folder / "new", "--appendonly", "yes", password="second-secret") as new,
    ):
        yield old, new


@pytest.fixture
def old(servers: tuple[RedisServer, RedisServer]) -> RedisServer:
    servers[0].client().flushall()
    return servers[0]


@pytest.fixture
def new(servers: tuple[RedisServer, RedisServer]) -> RedisServer:
    servers[1].client().flushall()
    return servers[1]
