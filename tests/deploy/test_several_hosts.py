"""Several hosts, several fleets, and runs that see a part of them.

The hosts are folders of this machine, each with a prefix of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis import free_port, program

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long

APPLICATION = """
from celery import Celery

app = Celery("orchard")


@app.task
def add(a, b):
    return a + b
"""


class Done:
    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output
        _, _, recap = output.rpartition("PLAY RECAP")
        self.recap = {
            host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)}
            for host, counts in re.findall(r"^(\w+)\s+: (ok=.*)$", recap, re.MULTILINE)
        }


class Hosts:
    """Folders that stand for hosts, and the inventories of the fleets on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "app").mkdir()
        (folder / "app/orchard.py").write_text(APPLICATION)

    def inventory(self, fleet: str, database: int, hosts: Sequence[str], **variables: Any) -> Path:
        members: dict[str, Any] = {"hosts": {host: {} for host in hosts}}
        path = self.folder / f"{fleet}.json"
        path.write_text(
            json.dumps(
                {
                    "all": {
                        "hosts": dict.fromkeys(hosts),
                        "children": {
                            "celery_workers": members,
                            "celery_beat": members,
                            # Who shares a Redis leaves it to one of the fleets.
                            "redis": {"hosts": {} if database else {"w1": {}}},
                        },
                        "vars": {
                            "ansible_connection": "local",
                            "ansible_python_interpreter": sys.executable,
                            "celery_prefix": f"{self.folder}/{{{{ inventory_hostname }}}}",
                            "celery_app_name": fleet,
                            "celery_app": "orchard:app",
                            "celery_app_source": {
                                "type": "existing",
                                "prefix": sys.prefix,
                                "chdir": str(self.folder / "app"),
                            },
                            "celery_worker_pools": [
                                {"name": "default", "queues": ["celery"], "concurrency": 1}
                            ],
                            "celery_beat_host": "w1",
                            "celery_service_manager": "multi",
                            "celery_generated_secrets": ["TOKEN"],
                            "redis_port": self.port,
                            "redis_password": "common",
                            "redis_binary": program(),
                            "celery_broker_url": f"redis://:common@127.0.0.1:{self.port}/{database}",
                            **variables,
                        },
                    }
                }
            )
        )
        return path

    def play(self, inventory: Path, *options: str, playbook: str = "deploy.yml") -> Done:
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(inventory), playbook, *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
        return Done(done.returncode, done.stdout)

    def running(self, fleet: str = "") -> dict[str, set[int]]:
        """Process ids by what the process is, of Redis too: {"default-1@w1": {1, 2}}."""
        found: dict[str, set[int]] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = dict(
                    entry.partition("=")[::2]
                    for entry in (process / "environ").read_text().split("\0")
                    if entry
                )
                here = environment.get("CELERYOPS_RUN_DIR", "").startswith(str(self.folder))
                # Commands that only ask have no node's name.
                if here and "CELERYOPS_NODE" in environment and fleet in ("", environment["CELERYOPS_FLEET"]):
                    what = f"{environment['CELERYOPS_NODE']}@{environment['CELERYOPS_HOST']}"
                    found.setdefault(what, set()).add(int(process.name))
        with contextlib.suppress(FileNotFoundError):
            found["redis"] = {int((self.folder / "w1/run/redis/redis.pid").read_text())}
        return found


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        for pids in hosts.running().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_part_of_the_hosts_a_part_of_the_run_and_a_second_fleet(
    hosts: Hosts, subtests: pytest.Subtests
) -> None:
    orchard = hosts.inventory("orchard", 0, ["w1", "w2"])

    first = hosts.play(orchard)
    assert first.code == 0, first.output
    everything = hosts.running()
    assert everything.keys() == {"default-1@w1", "default-1@w2", "beat@w1", "redis"}

    with subtests.test("a second fleet on the same host and Redis touches nothing of the first"):
        meadow = hosts.inventory("meadow", 1, ["w1"])
        second = hosts.play(meadow)
        assert second.code == 0, second.output
        assert hosts.running("meadow").keys() == {"default-1@w1", "beat@w1", "redis"}
        assert hosts.running("orchard") == everything
        assert "default-1@w2" not in second.output
        gone = hosts.play(meadow, "-e", "celery_remove_data=true", playbook="playbooks/teardown.yml")
        assert gone.code == 0, gone.output
        assert hosts.running() == everything
        left = [path for path in hosts.folder.rglob("*meadow*") if path.name != "meadow.json"]
        assert left == []

    with subtests.test("one host of two is finished; nothing that is hidden is missed"):
        verbose = hosts.inventory("orchard", 0, ["w1", "w2"], celery_worker_log_level="DEBUG")
        finished = hosts.play(verbose, "--limit", "w2", "--tags", "workers,proof")
        assert finished.code == 0, finished.output
        assert finished.recap.keys() == {"w2"}
        assert "hidden   w1" in finished.output
        last = hosts.running()
        assert last.pop("default-1@w2").isdisjoint(everything.pop("default-1@w2"))
        assert last == everything
        last = hosts.running()

    with subtests.test("a beat that is hidden is not taken for absent"):
        twice = hosts.play(verbose, "--limit", "w2", "--tags", "beat", "-e", "celery_beat_host=w2")
        assert twice.code != 0
        assert "--limit hides w1" in " ".join(twice.output.split())
        assert twice.recap["w2"]["changed"] == 0
        assert hosts.running() == last

    with subtests.test("half a fleet does not move to another Redis"):
        elsewhere = hosts.inventory("orchard", 7, ["w1", "w2"])
        refused = hosts.play(elsewhere, "--tags", "workers")
        assert refused.code != 0
        assert "what is left out would go on at the old place" in " ".join(refused.output.split())
        assert hosts.running() == last
