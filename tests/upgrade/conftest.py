"""A fleet on this machine, deployed by one version of the collection and then by another.

The other is the checkout as a user gets it: built, installed from its tarball, used from an empty folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.once import ONCE
from tests.support.redis import free_port

ROOT = Path(__file__).resolve().parents[2]
# The previous release, so that a shallow clone has it too: `git archive TAG plugins roles runtime playbooks
# meta galaxy.yml | xz -9e`.
PREVIOUS = Path(__file__).with_name("celeryops-fleet-0.1.0.tar.xz")
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long
HOST = "localhost"

APPLICATION = """
import os
import time

from celery import Celery

app = Celery("clock")
app.conf.beat_schedule = {"tick": {"task": "clock.tick", "schedule": 60.0}}


@app.task
def tick():
    return "tick"


@app.task
def work(path, changed):
    # Until the deploy has written what the node is restarted for, and a little longer.
    for _ in range(3000):
        if os.stat(path).st_mtime_ns != changed:
            break
        time.sleep(0.1)
    time.sleep(2)
    return "worked"
"""


class Machine:
    """The operator's folder, and the host: everything of the fleet is below `prefix`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder / "fleet"
        self.application = folder / "clock"
        self.opt = self.prefix / "opt/celery/clock"
        # The Python of the "system": first on PATH, so that the test can take it away.
        self.python = folder / "bin/python3"
        self.operator = folder / "operator"
        self.collections = {"previous": folder / "previous", "present": folder / "present"}
        port = free_port()
        password = "lookup('ansible.builtin.file', celery_prefix ~ '/etc/redis/password', errors='ignore')"
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "celery_prefix": str(self.prefix),
            "celery_app_name": "clock",
            "celery_app": "clock",
            "celery_app_source": {"type": "path", "path": str(self.application)},
            "celery_app_steps": [
                {"name": "count", "argv": ["sh", "-c", f"echo done >> {folder}/steps"]},
            ],
            "celery_worker_pools": [{"name": "default", "queues": ["celery"], "concurrency": 2}],
            "celery_flower_port": free_port(),
            "redis_bind": "127.0.0.1",
            "redis_port": port,
            "celery_broker_url": f"redis://:{{{{ {password} }}}}@127.0.0.1:{port}/0",
            "celery_result_backend": "{{ celery_broker_url }}",
        }
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ANSIBLE", "CELERY", "MOLECULE"))
            },
            **ONCE,
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "PATH": f"{self.python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def prepare(self, requirements: str) -> None:
        self.operator.mkdir()
        self.python.parent.mkdir()
        self.application.mkdir()
        (self.application / "clock.py").write_text(APPLICATION)
        (self.application / "requirements.txt").write_text(requirements)
        place = self.collections["previous"] / "ansible_collections/celeryops/fleet"
        place.mkdir(parents=True)
        with tarfile.open(PREVIOUS) as packed:
            # Debian 12's Python knows no filter, and asks for none.
            packed.extraction_filter = getattr(tarfile, "data_filter", None)
            packed.extractall(place)
        galaxy = ["ansible-galaxy", "collection"]
        self._must([*galaxy, "build", "--output-path", str(self.folder)], ROOT, os.environ)
        (tarball,) = map(str, self.folder.glob("*.tar.gz"))
        present = str(self.collections["present"])
        self._must([*galaxy, "install", tarball, "--offline", "-p", present], self.folder, self._environment)

    def deploy(self, collection: str = "present", *options: str) -> str:
        return self.play("deploy", *options, collection=collection)

    def play(self, name: str, *options: str, collection: str = "present") -> str:
        """Run a playbook of one of the collections; what was said."""
        groups = ("redis", "celery_workers", "celery_beat", "celery_flower")
        children = {group: {"hosts": {HOST: {}}} for group in groups}
        variables = dict(self.variables)
        if collection == "previous":
            variables["celery_beat_host"] = HOST  # refused since
        inventory = self.operator / "hosts.json"
        inventory.write_text(json.dumps({"all": {"vars": variables, "children": children}}))
        return self._must(
            ["ansible-playbook", f"celeryops.fleet.{name}", "-i", inventory.name, *options],
            self.operator,
            {**self._environment, "ANSIBLE_COLLECTIONS_PATH": str(self.collections[collection])},
        )

    def _must(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(self, *command: str) -> str:
        """What a command prints that runs as the fleet's processes run."""
        argv = [str(self.opt / "bin/run"), *command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def send(self) -> list[str]:
        """Send tasks for all processes of a pool and as many more; their ids, when one runs.

        They last into the next deploy.
        """
        code = """
import os, sys, time
from clock import work
changed = os.stat(sys.argv[1]).st_mtime_ns
sent = [work.delay(sys.argv[1], changed) for _ in range(4)]
while not any(result.state == "STARTED" for result in sent):
    time.sleep(0.1)
print(*(result.id for result in sent))
"""
        return self.run("python", "-c", code, f"{self.prefix}/etc/celery/clock/nodes/default-1.env").split()

    def results(self, ids: list[str]) -> list[str]:
        code = (
            "import sys; from clock import app\nfor id in sys.argv[1:]: print(app.AsyncResult(id).get(600))"
        )
        return self.run("python", "-c", code, *ids).split()

    def books(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("celery", "-A", "clock", "fleet", "status", "--json"))
        return found

    def pids(self) -> dict[str, int]:
        """The main process of every part of the fleet, found without asking it."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                place = f"{' '.join(words)} {(entry / 'cwd').readlink()} {(entry / 'exe').readlink()}"
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if str(self.prefix) in place:
                found[int(entry.name)] = (parent, " ".join(words))
        mains = {pid: text for pid, (parent, text) in found.items() if parent not in found}
        names = {"default-1@": "default-1", " beat ": "beat", "flower": "flower"}
        return {
            next((name for mark, name in names.items() if mark in text), "redis"): pid
            for pid, text in mains.items()
        }

    def releases(self) -> dict[str, str]:
        """When each release, Flower's too, was built."""
        paths = [*self.opt.glob("releases/*/release.json"), *self.opt.glob("flower/releases/*/release.json")]
        return {path.parent.name: json.loads(path.read_text())["built_at"] for path in paths}

    def kill(self) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + os.fsencode((entry / "exe").readlink())
                if os.fsencode(self.prefix) in text:
                    os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("upgrade"))
    try:
        yield machine
    finally:
        machine.kill()
        shutil.rmtree(machine.folder, ignore_errors=True)
