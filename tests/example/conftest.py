"""A private Redis and real workers for the example, without the collection."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import RedisServer
from tests.support.waiting import until

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
STOP_TIMEOUT = 60.0  # seconds
CELERY = [sys.executable, "-m", "celery", "-A", "shop"]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
            timeout=600,
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
        until(
            lambda: all(" ready." in self.log(name) for name in self._workers), "the shop's workers are ready"
        )

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
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.socket


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
