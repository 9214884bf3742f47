"""A real Redis with a password, a real worker, and Flower with the configuration that the role renders."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis import RedisServer, free_port
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
_LINK = ROOT / ".collections"

if importlib.util.find_spec("ansible_collections") is None and _LINK.is_dir():
    sys.path.insert(0, str(_LINK))

from ansible_collections.celeryops.fleet.plugins.filter.flower import flower_config  # noqa: E402

USER, PASSWORD = "admin", "pass,word:with'everything"
PREFIX = "reef:"

APPLICATION = """
import time

from celery import Celery
from redis import Redis

app = Celery("reef")
app.conf.task_default_queue = "reef"


@app.task(name="reef.add")
def add(x, y):
    return x + y


@app.task(name="reef.nap")
def nap(seconds):
    Redis.from_url(app.conf.broker_url).incr("naps")
    time.sleep(seconds)
"""

VARIABLES: dict[str, Any] = {
    "address": "127.0.0.1",
    "user": USER,
    "url_prefix": "",
    "read_only": True,
    "max_tasks": 100,
    "max_workers": 10,
    "purge_offline": "1h",
    "options": {},
}


class Flower:
    """One Flower, as a browser or a script meets it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def request(self, path: str, method: str = "GET", password: str | None = PASSWORD) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if method == "POST":
            request.data = b"{}"
        if password is not None:
            token = base64.b64encode(f"{USER}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str) -> Any:
        status, text = self.request(path)
        assert status == 200, text
        return json.loads(text)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.request("/healthcheck")[0] == 200
        return False


class Reef:
    """The fleet that Flower looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._redis = RedisServer(folder / "redis", password="hunter2")
        self.url = self._redis.url
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "reef.py").write_text(APPLICATION)
        # The visibility timeout is there to show that it does no harm.
        self._write(
            "flower_settings.json",
            broker_transport_options={
                "global_keyprefix": PREFIX,
                "visibility_timeout": 1,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            },
        )
        self._write("settings.json", broker_transport_options={"global_keyprefix": PREFIX})

    def _write(self, name: str, **settings: Any) -> None:
        (self.folder / name).write_text(json.dumps({"settings": settings}))

    def _environment(self, node: str, settings: str) -> dict[str, str]:
        return {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("CELERY", "FLOWER"))
            },
            "CELERYOPS_FLEET": "reef",
            "CELERYOPS_HOST": "reef1",
            "CELERYOPS_NODE": node,
            "CELERYOPS_SETTINGS": str(self.folder / settings),
            "CELERY_BROKER_URL": self.url,
            "CELERY_RESULT_BACKEND": self.url,
            "CELERY_LOADER": "celeryops.loader:FleetLoader",
            "PYTHONPATH": str(ROOT / "runtime"),
            "SPT_NOENV": "1",
            "C_FORCE_ROOT": "1",
        }

    def start(self) -> None:
        self._redis.start()
        self._start_worker()

    def _start_worker(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "reef", "worker", "-n", "default-1@reef1", "-c", "1"]
        environment = self._environment("default-1", "settings.json")
        with (self.folder / "worker.log").open("wb") as output:
            process = subprocess.Popen(
                [*command, "-E", "-l", "INFO"],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        self.worker = process
        until(lambda: " ready." in (self.folder / "worker.log").read_text(), "the worker is ready")

    def start_flower(self, **variables: Any) -> Flower:
        port = free_port()
        config = self.folder / f"flower_config_{port}.py"
        config.touch(mode=0o600)
        config.write_text(flower_config({**VARIABLES, **variables, "port": port}, PASSWORD, "cookie"))
        command = [sys.executable, "-m", "celery", "flower", f"--conf={config}"]
        environment = self._environment("flower", "flower_settings.json")
        # Flower has no business with the application, and shall not even find it.
        process = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdout=(self.folder / f"flower-{port}.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self._running.append(process)
        flower = Flower(process, port)
        until(flower.answers, "Flower answers")
        return flower

    def processes(self) -> int:
        """How many the pool of the worker has, by the kernel's account."""
        return len(Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children").read_text().split())

    def producer(self) -> Any:
        import celery

        app = celery.Celery("producer", broker=self.url, backend=self.url, set_as_current=False, loader="app")
        app.conf.broker_transport_options = {"global_keyprefix": PREFIX}
        return app

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._redis.stop()


@pytest.fixture(scope="session")
def reef(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reef]:
    reef = Reef(tmp_path_factory.mktemp("reef"))
    try:
        reef.start()
        yield reef
    finally:
        reef.stop()


@pytest.fixture(scope="session")
def flower(reef: Reef) -> Flower:
    """As the role runs it when nothing else is asked for."""
    return reef.start_flower()
