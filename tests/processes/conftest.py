"""A small fleet of real workers on a real Redis, without systemd, below a temporary folder.

What the roles render on a host (wrappers, environment files) is written by hand here in its simplest form;
the runtime is the checkout's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import celery
import pytest

from tests.support.plugins import hide_flower
from tests.support.redis import RedisServer
from tests.support.waiting import until

_CHECKOUT = Path(__file__).resolve().parents[2]
_LINK = _CHECKOUT / ".collections"

if importlib.util.find_spec("ansible_collections") is None and _LINK.is_dir():
    sys.path.insert(0, str(_LINK))

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes  # noqa: E402
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.convergence import (  # noqa: E402
    Convergence,
    Layout,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Wanted  # noqa: E402

A, B = "a" * 16, "b" * 16

APPLICATION = """
import os, time
import redis
from celery import Celery, signals

app = Celery("orchard", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])
books = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])


@signals.worker_init.connect
def hesitate(**_):
    time.sleep(float(os.environ.get("HESITATE", "0")))
    # None is ready before as many as this have begun.
    books.incr("gathered")
    while int(books.get("gathered")) < int(os.environ.get("GATHER", "0")):
        time.sleep(0.1)


@signals.worker_shutting_down.connect
def count(**_):
    books.incr("asked")


@app.task
def nap(seconds):
    books.incr("began")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not books.exists("enough"):
        time.sleep(0.05)
    books.incr("ended")
"""

CELERY = """#!/bin/sh
set -a
. {etc}/environment
cd {app} || exit 1
exec {bin}/celery -A orchard "$@"
"""

CELERY_MULTI = """#!/bin/sh
set -a
. {etc}/environment
verb=$1
shift
cd {app} || exit 1
for node in "$@"; do
  (
    . {etc}/nodes/$node.env
    exec {bin}/celery -A orchard multi "$verb" "$node@host" --pidfile={run}/%n.pid --logfile={log}/%n.log -c 1
  )
done
"""


@dataclass
class Fleet:
    """Folders of a fleet on this machine, and what the module would be told about it."""

    layout: Layout
    root: Path
    url: str
    books: Any

    def node(self, name: str, fingerprint: str, **more: Any) -> Wanted:
        """A wanted worker, with its environment file written as the role does."""
        path = self.root / "etc/nodes" / f"{name}.env"
        path.write_text(f'CELERYOPS_NODE="{name}"\nCELERYOPS_FINGERPRINT="{fingerprint}"\n')
        return Wanted(name, fingerprint, nodename=f"{name}@host", start_timeout=300, **more)

    def beat(self, fingerprint: str, **more: Any) -> Wanted:
        path = self.root / "etc/beat.env"
        path.write_text(f'CELERYOPS_NODE="beat"\nCELERYOPS_FINGERPRINT="{fingerprint}"\n')
        schedule = self.root / "schedule"
        argv = (f"{_bin()}/celery", "-A", "orchard", "beat", "-s", str(schedule))
        environments = (str(self.root / "etc/environment"), str(path))
        app = str(self.root / "app")
        return Wanted("beat", fingerprint, "beat@host", argv=argv, env_files=environments, chdir=app, **more)

    def flower(self, fingerprint: str, port: int, **more: Any) -> Wanted:
        path = self.root / "etc/flower.env"
        path.write_text(
            f'CELERYOPS_NODE="flower"\nCELERYOPS_FINGERPRINT="{fingerprint}"\nPYTHONPATH="{self._path}"\n'
        )
        argv = (f"{_bin()}/celery", "-A", "orchard", "flower", "--address=127.0.0.1", f"--port={port}")
        environments = (str(self.root / "etc/environment"), str(path))
        app = str(self.root / "app")
        listen = f"127.0.0.1:{port}"
        return Wanted(
            "flower", fingerprint, argv=argv, env_files=environments, chdir=app, listen=listen, **more
        )

    def converge(self, *wanted: Wanted, check: bool = False, **layout: Any) -> dict[str, Any]:
        one = Convergence(replace(self.layout, **layout), wanted)
        one.observe()
        if not check:
            one.act()
        return {**one.result(), "failures": one.outcome.failures}

    def pid(self, node: str) -> int:
        return processes.read_pidfile(str(self.root / "run" / f"{node}.pid"))

    @property
    def _path(self) -> str:
        return f"{_CHECKOUT}/runtime:{self.root}/app"

    def environment(self, **more: str) -> None:
        lines = {
            "CELERYOPS_FLEET": "orchard",
            "CELERYOPS_RUN_DIR": str(self.root / "run"),
            "CELERYOPS_HOST": "host",
            "CELERY_LOADER": "celeryops.loader:FleetLoader",
            "CELERY_BROKER_URL": self.url,
            "PYTHONPATH": f"{self.root}/hidden:{self._path}",
            "SPT_NOENV": "1",
            **more,
        }
        text = "".join(f'{key}="{value}"\n' for key, value in lines.items())
        (self.root / "etc/environment").write_text(text)

    def log(self, node: str) -> str:
        return (self.root / "log" / f"{node}.log").read_text()

    def nap(self, seconds: float) -> None:
        """Give a task to the fleet and wait until it runs."""
        before = self.count("began")
        with celery.Celery(broker=self.url, set_as_current=False, loader="app") as producer:
            producer.send_task("orchard.nap", args=[seconds])
        until(lambda: self.count("began") > before, "the task runs")

    def wake(self) -> None:
        """End the naps."""
        self.books.set("enough", 1)

    def count(self, key: str) -> int:
        return int(self.books.get(key) or 0)

    def everyone(self) -> list[processes.Process]:
        found = processes.read_many(processes.all_pids()).values()
        return [one for one in found if processes.belongs(one, "orchard", self.layout.run_dir)]

    def kill(self, which: Callable[[processes.Process], bool] = lambda process: True) -> None:
        """End these processes as a crash would."""
        for process in filter(which, self.everyone()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        until(lambda: not any(map(which, self.everyone())), "all of them have ended")


def _bin() -> str:
    return os.path.dirname(sys.executable)


def _furnish(fleet: Fleet) -> None:
    """What the roles render, and the application, as they are before a test."""
    root = fleet.root
    for name in ("opt/bin", "etc/nodes", "run", "log", "app", "hidden"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "app/orchard.py").write_text(APPLICATION)
    places = {name: root / name for name in ("app", "etc", "run", "log")}
    for name, text in (("celery", CELERY), ("celery-multi", CELERY_MULTI)):
        wrapper = root / "opt/bin" / name
        wrapper.write_text(text.format(bin=_bin(), **places))
        wrapper.chmod(0o755)
    hide_flower(root / "hidden")
    fleet.environment()


def _fleet(root: Path, server: RedisServer, database: int) -> Fleet:
    layout = Layout(
        fleet="orchard",
        kind="worker",
        manager="multi",
        opt_dir=str(root / "opt"),
        etc_dir=str(root / "etc"),
        run_dir=str(root / "run"),
        log_dir=str(root / "log"),
        python=sys.executable,
    )
    return Fleet(layout, root, server.at(database), server.client(database))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, server: RedisServer) -> Iterator[Fleet]:
    """A fleet of which nothing runs yet."""
    one = _fleet(tmp_path, server, 0)
    one.books.flushdb()
    _furnish(one)
    yield one
    one.kill()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Iterator[Fleet]:
    one = _fleet(tmp_path_factory.mktemp("kept"), server, 1)
    yield one
    one.kill()


@pytest.fixture
def running(kept: Fleet) -> Fleet:
    """A fleet whose node fruit-1 runs with the fingerprint A.

    It is the node of the test before where that has left it so: a start costs more than most tests.
    """
    _furnish(kept)
    kept.kill(lambda process: process.get(processes.NODE) != "fruit-1")
    is_idle = kept.count("began") == kept.count("ended")
    kept.books.delete("began", "ended", "asked", "enough", "gathered")
    one = kept.node("fruit-1", A)
    for place in ("etc/nodes", "run"):
        for path in (kept.root / place).iterdir():
            if path.stem != "fruit-1":
                path.unlink()
    if kept.converge(one, check=True)["changed"] or not is_idle:
        kept.kill()
        kept.books.flushdb()
        shutil.rmtree(kept.root)
        _furnish(kept)
        one = kept.node("fruit-1", A)
        assert kept.converge(one)["failures"] == []
    return kept
