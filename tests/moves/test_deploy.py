"""A whole fleet takes another port, another name and another database; a program sends to it meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from .conftest import ROOT, Producer, _binary, free_port, producer, sent, until

APPLICATION = """
import os
import time

import celery

app = celery.Celery("grove")
app.conf.beat_schedule = {"never": {"task": "grove.touch", "schedule": 86400.0, "args": [-1]}}


@app.task(name="grove.touch")
def touch(number):
    with open(os.environ["GROVE_RUNS"], "a") as runs:
        runs.write(f"{number}\\n")


@app.task(name="grove.nap")
def nap(seconds, number):
    touch(-2)
    time.sleep(seconds)
    touch(number)
"""


class Fleet:
    """A fleet of one host below a folder, with an inventory that changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder / "fleet"
        self.runs = folder / "runs"
        (folder / "grove.py").write_text(APPLICATION)
        self.password = "a-password-of-the-test"
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "celery_prefix": str(self.prefix),
            "celery_app_name": "grove",
            "celery_app": "grove:app",
            "celery_app_source": {"type": "existing", "prefix": sys.prefix, "chdir": str(folder)},
            "celery_environment": {"GROVE_RUNS": str(self.runs)},
            "celery_generated_secrets": ["GROVE_KEY"],
            "celery_worker_pools": [{"name": "default", "queues": ["oak"], "concurrency": 2}],
            "celery_beat_host": "localhost",
            "redis_binary": _binary(),
            "redis_password": self.password,
        }
        self.place(free_port(), 0)

    def place(self, port: int, database: int) -> None:
        self.port = port
        self.url = f"redis://:{self.password}@127.0.0.1:{port}/{database}"
        self.variables.update(redis_port=port, celery_broker_url=self.url, celery_result_backend=self.url)

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        groups = ("redis", "celery_workers", "celery_beat")
        children = {group: {"hosts": {"localhost": {}}} for group in groups}
        (self.folder / "hosts.json").write_text(
            json.dumps({"all": {"vars": self.variables, "children": children}})
        )
        return subprocess.run(
            ["ansible-playbook", "-i", self.folder / "hosts.json", ROOT / "deploy.yml", *arguments],
            cwd=ROOT,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("CELERY")},
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_NOCOLOR": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def deployed(self, *arguments: str) -> str:
        done = self.deploy(*arguments)
        assert done.returncode == 0, done.stdout
        assert self.password not in done.stdout
        return done.stdout

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, password=self.password)

    def ran(self) -> Counter[int]:
        return Counter(map(int, self.runs.read_text().split())) if self.runs.exists() else Counter()

    def named(self, name: str) -> list[str]:
        """Files and folders that bear a fleet's name."""
        return [str(path) for path in self.prefix.rglob(name) if "runtime" not in path.parts]

    def secret(self, name: str) -> str:
        return (self.prefix / f"etc/celery/{name}/secrets/GROVE_KEY").read_text()

    def kill(self) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if os.fsencode(self.prefix) in text and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.kill()


def test_another_name_and_another_place(fleet: Fleet, subtests: pytest.Subtests) -> None:
    fleet.deployed()
    secret = fleet.secret("grove")
    (fleet.prefix / "var/lib/celery/grove/kept").write_text("data of the application")
    app = producer(fleet.url)
    for number in range(5):
        app.send_task("grove.touch", args=[number], queue="nobody")
    app.send_task("grove.touch", args=[77], queue="oak", countdown=3600)
    app.send_task("grove.nap", args=[4, 78], queue="oak")
    until(lambda: fleet.ran()[-2], "the long task runs")

    with subtests.test("half a fleet does not move"):
        elsewhere = {"celery_broker_url": fleet.url.replace("/0", "/7")}
        refused = fleet.deploy("-e", json.dumps(elsewhere), "--tags", "workers")
        assert refused.returncode != 0
        assert "what is left out would go on at the old place" in refused.stdout

    # The server itself goes to another port: its data come along.
    fleet.place(free_port(), 0)
    fleet.deployed()

    with subtests.test("a server that comes back at another port has all that it had"):
        assert fleet.ran()[78] == 1, "a task that ran was let to its end"
        assert fleet.client().llen("nobody") == 5
        assert not fleet.client().exists("celeryops:grove:move")
        until(lambda: fleet.client().hlen("unacked") == 1, "the task with an ETA is held again")

    steady = Producer(fleet.url, first=1000, pause=0.1)
    before = fleet.client()
    fleet.place(fleet.port, 3)
    fleet.variables.update(celery_app_name="wood", celery_app_former_name="grove")
    told = fleet.deployed()
    numbers = steady.stop()

    with subtests.test("the program that did not know is named"):
        assert f"{steady.pid}@" in told

    with subtests.test("nothing of the old name is left, and what it had is there"):
        assert fleet.named("grove") == []
        assert fleet.secret("wood") == secret
        assert (fleet.prefix / "var/lib/celery/wood/kept").exists()
        assert fleet.client(3).hkeys("celeryops:wood:hosts") == [b"localhost"]
        assert not fleet.client(3).keys("celeryops:grove:*")

    with subtests.test("every message has run once, or waits for the next look at the old place"):
        assert fleet.client(3).llen("nobody") == 5
        late = sent(before, "oak")
        until(lambda: set(numbers) <= {*fleet.ran(), *late}, "all have run")
        ran = Counter(number for number in [*fleet.ran().elements(), *late] if number >= 1000)
        assert {number: times for number, times in ran.items() if times != 1} == {}
        until(lambda: fleet.client(3).hlen("unacked") == 1, "the task with an ETA is held again")
