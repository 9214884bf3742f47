"""A deploy whose secrets come from a vault shows none: not in its words, on command lines or in files."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.redis import free_port, program

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long
# With characters that shells, URLs, JSON and environment files each write in a way of their own.
SECRETS = {
    "vault_redis_password": 'redis"%41/+word 9c1f',
    "vault_token": "to'ken$HOME\\9c1f",
    "vault_picker_key": "picker&key#9c1f",
}
NEW_TOKEN = "to'ken$HOME\\second"
APPLICATION = """
from celery import Celery
app = Celery("orchard")
@app.task(name="orchard.pick")
def pick():
    return "picked"
"""


def _leaks() -> Any:
    """What looks for secrets on the hosts of Molecule looks for them here."""
    spec = importlib.util.spec_from_file_location("leaks", ROOT / "molecule/shared/leaks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LEAKS = _leaks()
WANTED = {form for secret in [*SECRETS.values(), NEW_TOKEN] for form in LEAKS.forms(secret)}


def shown_in(text: bytes) -> list[bytes]:
    return [form for form in WANTED if form in text]


class Watch:
    """Looks at every command line of this machine, again and again, for as long as it is open."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(0.1):
            self.seen.update(text for _, text in LEAKS.command_lines() if shown_in(text))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


class Fleet:
    """An inventory with a vault, for a Redis, a worker and a beat below a prefix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder / "prefix"
        self._inventory = folder / "inventory"
        (self._inventory / "group_vars/all").mkdir(parents=True)
        (folder / "application").mkdir()
        (folder / "application/orchard.py").write_text(APPLICATION)
        (folder / "password").write_text("opens the vault\n")
        port = free_port()
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        variables = {
            "celery_prefix": str(self.prefix),
            "celery_app_name": "orchard",
            "celery_app": "orchard:app",
            "celery_app_source": {
                "type": "existing",
                "prefix": sys.prefix,
                "chdir": str(folder / "application"),
            },
            # A step that says what it must not.
            "celery_app_steps": [
                {"name": "talk", "argv": ["python", "-c", "import os; print(os.environ['TOKEN'])"]}
            ],
            "celery_secrets": {"TOKEN": "{{ vault_token }}"},
            "celery_worker_pools": [
                {
                    "name": "default",
                    "queues": ["celery"],
                    "concurrency": 1,
                    "environment": {"PICKER_KEY": "{{ vault_picker_key }}"},
                }
            ],
            "redis_bind": "127.0.0.1",
            "redis_port": port,
            "redis_binary": program(),
            "redis_password": "{{ vault_redis_password }}",
            "celery_broker_url": "redis://:{{ redis_password | urlencode | replace('/', '%2F') }}@127.0.0.1:"
            f"{port}/0",
        }
        groups = {name: {"hosts": {"orchard1": None}} for name in ("redis", "celery_workers", "celery_beat")}
        everything = {"hosts": {"orchard1": host}, "vars": variables, "children": groups}
        (self._inventory / "hosts.yml").write_text(yaml.safe_dump({"all": everything}))

    def deploy(self, *options: str, **secrets: str) -> bytes:
        vault = self._inventory / "group_vars/all/vault.yml"
        vault.write_text(yaml.safe_dump({**SECRETS, **secrets}))
        opens = f"--vault-password-file={self.folder / 'password'}"
        subprocess.run([BIN / "ansible-vault", "encrypt", opens, vault], check=True, capture_output=True)
        done = subprocess.run(
            [
                BIN / "ansible-playbook",
                "-i",
                self._inventory,
                "deploy.yml",
                opens,
                "-vvv",
                "--diff",
                *options,
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout.decode()[-5000:]
        return done.stdout

    def stop(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                place = f"{(process / 'cmdline').read_bytes().decode()} {(process / 'cwd').readlink()}"
                if str(self.folder) in place and int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.stop()


def test_no_secret_is_shown(fleet: Fleet, subtests: pytest.Subtests) -> None:
    with Watch() as watch:
        words = fleet.deploy()
        # A changed secret is in what differs, and that is in these parts.
        words += fleet.deploy("--tags", "app,workers", vault_token=NEW_TOKEN)
    environment = (fleet.prefix / "etc/celery/orchard/environment").read_bytes()

    with subtests.test("the secrets arrived where they belong"):
        assert b"second" in environment
        assert b"picker" in (fleet.prefix / "etc/celery/orchard/nodes/default-1.env").read_bytes()

    with subtests.test("not in the words of the deploy, however many are asked for"):
        lines = [line for line in words.splitlines() if shown_in(line)]
        assert lines == []

    with subtests.test("not on any command line, however short"):
        assert watch.seen == set()

    with subtests.test("not in logs"):
        logs = [fleet.prefix / "var/log", fleet.prefix / "opt/celery/orchard/logs"]
        found = [place for place, text in LEAKS.files(logs, whoever_reads=True) if shown_in(text)]
        assert found == []
        assert any((fleet.prefix / "var/log").rglob("*.log"))

    with subtests.test("not in files that others may read"):
        assert [place for place, text in LEAKS.files([fleet.prefix]) if shown_in(text)] == []

    with subtests.test("nor left behind on the way"):
        ways = [ROOT / ".cache/ansible/tmp", Path.home() / ".ansible/tmp", *Path("/tmp").glob("ansible*")]
        assert [place for place, text in LEAKS.files(ways) if shown_in(text)] == []
