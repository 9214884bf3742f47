"""A private Redis, and real workers and beats with the runtime, started as the files of a host start them.

CELERYOPS_TEST_PYTHON names the interpreter of the workers: any virtualenv with Celery 5.5 to 5.7.
"""

from __future__ import annotations

import compileall
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import kombu.pools
import pytest

from tests.support.plugins import hide_flower
from tests.support.redis import RedisServer
from tests.support.waiting import until

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
PYTHON = os.environ.get("CELERYOPS_TEST_PYTHON", sys.executable)

sys.path.insert(0, str(RUNTIME))

APPLICATION = """
import os
import time

from celery import Celery
from kombu import Exchange, Queue

app = Celery("grove")
app.conf.update(
    task_queues=[Queue("oak"), Queue("elm", Exchange("trees", type="topic"), routing_key="elm.#")],
    task_default_queue="oak",
    task_create_missing_queues=False,
    broker_transport_options={"global_keyprefix": "grove:", "priority_steps": [0, 3, 6, 9]},
    beat_schedule={
        "often": {
            "task": "grove.touch",
            "schedule": 1.0,
            "args": ["ticked"],
            "options": {"expires": 3600},
        },
    },
)


@app.task(name="grove.touch")
def touch(path):
    with open(path, "w") as handle:
        handle.write(str(os.getpid()))


@app.task(name="grove.nap")
def nap(seconds, path):
    touch(f"{path}.began")
    if not os.path.exists("hurry"):
        time.sleep(seconds)
    touch(path)
"""


class Supervisor:
    """Plays systemd's part: receives the datagrams of sd_notify, each with its time of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            message = self._socket.recv(4096).decode()
            self.heard.append((time.monotonic(), message))

    def messages(self, prefix: str, since: float = 0.0) -> list[str]:
        return [message for at, message in list(self.heard) if at >= since and message.startswith(prefix)]

    def longest_silence(self, begin: float, end: float) -> float:
        """The longest time in seconds between two feedings of the watchdog."""
        fed = [at for at, message in list(self.heard) if message == "WATCHDOG=1" and begin < at < end]
        times = [begin, *fed, end]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


class Grove:
    """The example fleet: its folder, its environment and its processes."""

    def __init__(self, folder: Path, runtime: Path, server: RedisServer) -> None:
        self.folder = folder
        self.server = server
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "grove.py").write_text(APPLICATION)
        self.producer = celery.Celery(broker=server.url, set_as_current=False, loader="app")
        self.producer.conf.broker_transport_options = {"global_keyprefix": "grove:"}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CELERY")},
            "PYTHONPATH": str(runtime),
            "CELERY_LOADER": "celeryops.loader:FleetLoader",
            "CELERY_BROKER_URL": server.url,
            "CELERYOPS_FLEET": "grove",
            "CELERYOPS_HOST": "worker1",
            "CELERYOPS_RELEASE": "1.2.3",
            "CELERYOPS_POOL": "default",
            "CELERYOPS_NODE": "default-1",
            "CELERYOPS_FINGERPRINT": "0123456789abcdef",
            "SPT_NOENV": "1",
        }

    def settings(self, **settings: Any) -> str:
        path = self.folder / "settings.json"
        path.write_text(json.dumps({"settings": settings}))
        self.environment["CELERYOPS_SETTINGS"] = str(path)
        return str(path)

    def supervise(self, watchdog: float) -> tuple[Supervisor, dict[str, str]]:
        """A supervisor, and the environment by which a process finds it."""
        supervisor = Supervisor(self.folder / f"notify-{len(self._running)}")
        return supervisor, {
            "NOTIFY_SOCKET": str(supervisor.path),
            "WATCHDOG_USEC": str(int(watchdog * 1_000_000)),
        }

    def start(self, *arguments: str, app: str = "grove", **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [PYTHON, "-m", "celery", "-A", app, *arguments],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def worker(self, *arguments: str, ready: bool = True, **environment: str) -> subprocess.Popen[bytes]:
        process = self.start("worker", "-n", "default-1@worker1", "-l", "info", *arguments, **environment)
        if ready:
            until(lambda: self.node().get("status") == "ready", "the worker is ready")
        return process

    def run(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command of the runtime or of Celery: ``run("celeryops", "status")``."""
        result = subprocess.run(
            [PYTHON, "-m", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def send(self, task: str, *args: Any) -> None:
        self.producer.send_task(task, args=args, queue="oak")

    def hurry(self) -> None:
        """Naps that have not begun take no time any more: more may be sent than a test waits for."""
        (self.folder / "hurry").touch()

    def books(self) -> Any:
        import redis
        from celeryops.books import Books

        return Books(redis.Redis(port=self.server.port), "grove:", "grove")

    def node(self) -> dict[str, Any]:
        """The worker's record, empty when there is none."""
        return next(iter(self.books().read()["nodes"]), {})

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        # Applications share their connections, and this test may have cut them.
        kombu.pools.reset()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime as a release installs it: the package and its metadata."""
    import celeryops

    folder = tmp_path_factory.mktemp("runtime")
    shutil.copytree(RUNTIME / "celeryops", folder / "celeryops", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder / "celeryops", quiet=1)
    info = folder / f"celeryops-{celeryops.__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: celeryops\nVersion: {celeryops.__version__}\n"
    )
    shutil.copy(RUNTIME / "entry_points.txt", info)
    hide_flower(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "yes") as redis:
        yield redis


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may stop and start."""
    with RedisServer(tmp_path, "--appendonly", "yes") as redis:
        yield redis


@pytest.fixture
def grove(tmp_path: Path, runtime: Path, server: RedisServer) -> Iterator[Grove]:
    import redis

    client = redis.Redis(port=server.port)
    # Children of a worker that the test before has killed end a moment later on a busy machine, and hold its
    # connection open until then: Redis would give its blocked BRPOP what this test sends first. It would
    # never arrive.
    client.client_kill_filter(_type="normal")
    client.flushall()
    fleet = Grove(tmp_path, runtime, server)
    yield fleet
    fleet.stop()


@pytest.fixture
def own_grove(tmp_path: Path, runtime: Path, own_server: RedisServer) -> Iterator[Grove]:
    """A fleet on a server of its own."""
    fleet = Grove(tmp_path, runtime, own_server)
    yield fleet
    fleet.stop()


@pytest.fixture(name="until", scope="session")
def until_fixture() -> Callable[..., Any]:
    return until
