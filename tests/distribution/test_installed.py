"""The collection as a user gets it: built, installed from its tarball, used from an empty folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.redis import free_port

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long
HOST = "localhost"
# What Redis' role has generated; there is none before the first deploy.
PASSWORD = "lookup('ansible.builtin.file', celery_prefix ~ '/etc/redis/password', errors='ignore')"

APPLICATION = """
from celery import Celery

app = Celery("clock")
app.conf.beat_schedule = {"tick": {"task": "clock.tick", "schedule": 60.0, "options": {"expires": 60}}}


@app.task
def tick():
    return "tick"
"""


def inventory(folder: Path) -> dict[str, object]:
    """A whole fleet in one file: every group on this machine, everything it makes below `folder`."""
    port = free_port()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_pipelining": True,
        "celery_prefix": str(folder / "fleet"),
        "celery_app_name": "clock",
        "celery_app": "clock",
        "celery_app_source": {"type": "path", "path": str(folder / "clock")},
        "celery_worker_pools": [{"name": "default", "queues": ["celery"], "concurrency": 1}],
        "redis_bind": "127.0.0.1",
        "redis_port": port,
        "celery_broker_url": f"redis://:{{{{ {PASSWORD} }}}}@127.0.0.1:{port}/0",
    }
    groups = {group: {"hosts": {HOST: {}}} for group in ("redis", "celery_workers", "celery_beat")}
    return {"all": {"vars": variables, "children": groups}}


class Operator:
    """Somebody with a folder, an installed collection and no checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = folder / "fleet"
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ANSIBLE", "CELERY", "MOLECULE"))
            },
            "HOME": str(folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def play(self, name: str, **variables: object) -> tuple[str, int]:
        """Run a playbook of the collection; its output, and how many tasks changed something."""
        output = self.run(
            "ansible-playbook", f"celeryops.fleet.{name}", "-i", "hosts.yml", "-e", json.dumps(variables)
        )
        changed = re.findall(rf"^{HOST}\s+: .*changed=(\d+)", output, re.MULTILINE)
        return output, int(changed[-1])

    def processes(self) -> dict[int, str]:
        """Command lines, by pid, of what runs out of the folder."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = f"{text} {(entry / 'cwd').readlink()} {(entry / 'exe').readlink()}"
            except OSError:
                continue
            if str(self.fleet) in place:
                found[int(entry.name)] = text.strip()
        return found


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path)
    (tmp_path / "home").mkdir()
    try:
        yield operator
    finally:
        for pid in operator.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_an_installed_collection_deploys_from_an_empty_folder(
    operator: Operator, subtests: pytest.Subtests
) -> None:
    folder = operator.folder
    built = subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (tarball,) = folder.glob("*.tar.gz")
    operator.run("ansible-galaxy", "collection", "install", tarball.name, "--offline", "-p", "collections")

    (folder / "clock").mkdir()
    (folder / "clock/clock.py").write_text(APPLICATION)
    (folder / "clock/requirements.txt").write_text("celery[redis]==5.7.*\n")
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory(folder)))

    first, changed = operator.play("deploy")
    running = operator.processes()

    with subtests.test("the fleet runs, and the report says so"):
        assert changed > 0
        assert "default-1@localhost" in first
        assert any("worker" in text and "default-1@localhost" in text for text in running.values()), running
        assert any(" beat" in text for text in running.values()), running

    with subtests.test("status"):
        output, _ = operator.play("status")
        assert "default-1@localhost" in output

    with subtests.test("teardown leaves nothing"):
        operator.play("teardown", celery_remove_data=True)
        assert operator.processes() == {}
        assert list(operator.fleet.iterdir()) == []  # the folder itself is the operator's
