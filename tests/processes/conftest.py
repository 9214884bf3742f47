"""A small fleet of real workers on a real Redis, without systemd, below a temporary folder.

What the roles render on a host (wrapper, environment files) is written by hand here in its simplest form, and
the application keeps the records which the runtime keeps in a real fleet: these tests are about processes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

_LINK = Path(__file__).resolve().parents[2] / ".collections"

if importlib.util.find_spec("ansible_collections") is None and _LINK.is_dir():
    sys.path.insert(0, str(_LINK))

from ansible_collections.celeryops.fleet.plugins.module_utils import processes  # noqa: E402
from ansible_collections.celeryops.fleet.plugins.module_utils.convergence import (  # noqa: E402
    Convergence,
    Layout,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.reconcile import Wanted  # noqa: E402

APPLICATION = '''
import json, os, time
import redis
from celery import Celery, signals

app = Celery("orchard", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])
app.conf.update(worker_proc_alive_timeout=60, broker_connection_retry_on_startup=True)
books = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])


def note(**more):
    record = {
        "kind": "worker", "node": os.environ["NODENAME"], "pid": os.getpid(), "status": "ready", "active": 1,
        "fingerprint": os.environ.get("CELERYOPS_FINGERPRINT"),
    }
    books.hset("records", record["node"], json.dumps({**record, **more}))


@signals.worker_ready.connect
def ready(**_):
    if not os.environ.get("NEVER_READY"):
        note()


@signals.beat_init.connect
def beat_ready(**_):
    note(kind="beat")


@app.task
def nap(seconds):
    time.sleep(seconds)
    books.incr("napped")
    return os.getpid()
'''

STATUS = """
import json, os, time
import redis
records = [json.loads(one) for one in redis.Redis.from_url(os.environ["CELERY_BROKER_URL"]).hvals("records")]
print(json.dumps({"fleet": "orchard", "now": time.time(),
    "nodes": [one for one in records if one["kind"] == "worker"],
    "beats": [one for one in records if one["kind"] == "beat"]}))
"""

DETACH = """
import os, sys
from celery.platforms import detached
arguments = sys.argv[2:]
options = {}
while arguments[0] != "--":
    options[arguments.pop(0)] = arguments.pop(0)
with detached(options["--logfile"], options["--pidfile"], umask=0o27, workdir=options["--chdir"],
              after_forkers=False):
    log = os.open(options["--logfile"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    os.dup2(log, 1)
    os.dup2(log, 2)
    open(options["--pidfile"], "w").write(f"{os.getpid()}\\n")
    os.execv(arguments[1], arguments[1:])
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
    NODENAME=$node@host
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

    def node(self, name: str, fingerprint: str, **more: Any) -> Wanted:
        """A wanted worker, with its environment file written as the role does."""
        path = self.root / "etc/nodes" / f"{name}.env"
        path.write_text(f'CELERYOPS_NODE="{name}"\nCELERYOPS_FINGERPRINT="{fingerprint}"\n')
        return Wanted(name, fingerprint, nodename=f"{name}@host", start_timeout=60, **more)

    def beat(self, fingerprint: str, **more: Any) -> Wanted:
        path = self.root / "etc/beat.env"
        path.write_text(
            f'CELERYOPS_NODE="beat"\nCELERYOPS_FINGERPRINT="{fingerprint}"\nNODENAME="beat@host"\n'
        )
        schedule = self.root / "schedule"
        argv = (f"{_bin()}/celery", "-A", "orchard", "beat", "-s", str(schedule))
        environments = (str(self.root / "etc/environment"), str(path))
        app = str(self.root / "app")
        return Wanted("beat", fingerprint, "beat@host", argv=argv, env_files=environments, chdir=app, **more)

    def converge(self, *wanted: Wanted, check: bool = False, **layout: Any) -> dict[str, Any]:
        one = Convergence(replace(self.layout, **layout), wanted)
        one.observe()
        if not check:
            one.act()
        return {**one.result(), "failures": one.outcome.failures}

    def pid(self, node: str) -> int:
        return processes.read_pidfile(str(self.root / "run" / f"{node}.pid"))

    def environment(self, **more: str) -> None:
        lines = {
            "CELERYOPS_FLEET": "orchard",
            "CELERYOPS_RUN_DIR": str(self.root / "run"),
            "CELERY_BROKER_URL": self.url,
            "PYTHONPATH": f"{self.root}/runtime:{self.root}/app",
            "SPT_NOENV": "1",
            **more,
        }
        text = "".join(f'{key}="{value}"\n' for key, value in lines.items())
        (self.root / "etc/environment").write_text(text)

    def call(self, expression: str) -> str:
        """An expression about the application, evaluated where it lives."""
        script = f'set -a; . "{self.root}/etc/environment"; exec "{sys.executable}" -c "$1"'
        code = f"import orchard; print({expression})"
        return subprocess.run(
            ["/bin/sh", "-c", script, "sh", code], check=True, capture_output=True, text=True
        ).stdout.strip()

    def everyone(self) -> list[int]:
        found = processes.read_many(processes.all_pids()).values()
        return [one.pid for one in found if processes.belongs(one, "orchard", self.layout.run_dir)]


def _bin() -> str:
    return os.path.dirname(sys.executable)


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        pytest.skip("no redis-server or valkey-server on PATH")
    folder = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, *arguments], stdout=log)
    until(lambda: _connects(port))
    yield f"redis://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Iterator[Fleet]:
    for name in ("opt/bin", "etc/nodes", "run", "log", "app", "runtime/celeryops"):
        (tmp_path / name).mkdir(parents=True)
    import redis

    redis.Redis.from_url(f"{redis_url}/0").flushall()
    (tmp_path / "app/orchard.py").write_text(APPLICATION)
    (tmp_path / "runtime/celeryops/__init__.py").touch()
    main = f"import sys\nif sys.argv[1] == 'status':{_indented(STATUS)}\nelse:{_indented(DETACH)}\n"
    (tmp_path / "runtime/celeryops/__main__.py").write_text(main)
    wrapper = tmp_path / "opt/bin/celery-multi"
    wrapper.write_text(
        CELERY_MULTI.format(
            bin=_bin(),
            app=tmp_path / "app",
            etc=tmp_path / "etc",
            run=tmp_path / "run",
            log=tmp_path / "log",
        )
    )
    wrapper.chmod(0o755)
    layout = Layout(
        fleet="orchard",
        kind="worker",
        manager="multi",
        opt_dir=str(tmp_path / "opt"),
        etc_dir=str(tmp_path / "etc"),
        run_dir=str(tmp_path / "run"),
        log_dir=str(tmp_path / "log"),
        python=sys.executable,
    )
    one = Fleet(layout, tmp_path, f"{redis_url}/0")
    one.environment()
    yield one
    for pid in one.everyone():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def records(fleet: Fleet) -> dict[str, Any]:
    return json.loads(fleet.call("{k.decode(): v.decode() for k, v in orchard.books.hgetall('records')}"))
