"""Folders of this machine that stand for hosts, each with a prefix of its own, and a vault of secrets.

The second host is reached by what stands for ssh.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.modules import load
from tests.support.redis import free_port, program

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long

# Its name is nobody else's: a beat for the same application that runs on this machine would be refused.
APPLICATION = """
from celery import Celery

app = Celery("harvest")


# Nobody consumes the queue: what lies there in the end is what beat has sent.
app.conf.beat_schedule = {
    "tally": {
        "task": "harvest.add",
        "schedule": 1.0,
        "args": (1, 2),
        "options": {"queue": "tally", "expires": 3600},
    },
}


@app.task
def add(a, b):
    return a + b
"""

# Runs the command here.
SSH = """#!/bin/sh
for command; do :; done
exec sh -c "$command"
"""

BROKER = "redis://:{{ redis_password | urlencode | replace('/', '%2F') }}@127.0.0.1:"
POOL: dict[str, Any] = {
    "name": "default",
    "queues": ["celery"],
    "concurrency": 1,
    "environment": {"PICKER_KEY": "{{ vault_picker_key }}"},
}

# With characters that shells, URLs, JSON and environment files each write in a way of their own.
SECRETS = {
    "vault_redis_password": 'redis"%41/+word 9c1f',
    "vault_token": "to'ken$HOME\\9c1f",
    "vault_picker_key": "picker&key#9c1f",
}
CHANGED = {"vault_token": "to'ken$HOME\\second", "vault_picker_key": "picker&key#second"}


# What looks for secrets on the hosts of Molecule looks for them here.
LEAKS = load(ROOT / "molecule/shared/leaks.py")
WANTED = {form for secret in [*SECRETS.values(), *CHANGED.values()] for form in LEAKS.forms(secret)}


def shown_in(text: bytes) -> list[bytes]:
    return [form for form in WANTED if form in text]


def processes() -> dict[str, str]:
    """When each of this machine began, by its id."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold blanks and parentheses.
            found[name] = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[19]
    return found


class Watch:
    """Looks at the command lines of this machine, again and again, for as long as it is open.

    Those of what ran before it was made are not of these tests.
    """

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._before = processes()

    def _look(self) -> None:
        wanted = re.compile(b"|".join(map(re.escape, WANTED)))
        now = processes()
        # Another process may have got the id of one that has ended.
        others = {name for name, began in self._before.items() if now.get(name) == began}
        while not self._end.wait(0.1):
            names = set(filter(str.isdecimal, os.listdir("/proc")))
            others &= names
            for name in names - others:
                with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                    text = file.read().replace(b"\0", b" ")
                    if wanted.search(text):
                        self.seen.add(text)

    def __enter__(self) -> Watch:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


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
        self.ssh = folder / "ssh"
        self.ssh.write_text(SSH)
        self.ssh.chmod(0o755)
        (folder / "app").mkdir()
        (folder / "app/harvest.py").write_text(APPLICATION)
        (folder / "password").write_text("opens the vault\n")
        self._opens = f"--vault-password-file={folder / 'password'}"
        (folder / "group_vars/all").mkdir(parents=True)
        self.lock()

    def lock(self, **secrets: str) -> None:
        """Encrypt the secrets, or others."""
        vault = self.folder / "group_vars/all/vault.yml"
        vault.write_text(yaml.safe_dump({**SECRETS, **secrets}))
        subprocess.run(
            [BIN / "ansible-vault", "encrypt", self._opens, vault], check=True, capture_output=True
        )

    def inventory(
        self,
        fleet: str,
        database: int,
        hosts: Sequence[str],
        beats: Sequence[str] | None = None,
        **variables: Any,
    ) -> Path:
        """beats: the hosts that run beat, all of them unless it is said."""
        local = {"ansible_connection": "local"}
        reached_by = {
            "w1": local,
            "w2": {
                "ansible_connection": "ssh",
                "ansible_ssh_executable": str(self.ssh),
                "ansible_ssh_transfer_method": "piped",
            },
        }
        members: dict[str, Any] = {"hosts": {host: {} for host in hosts}}
        path = self.folder / f"{fleet}.json"
        path.write_text(
            json.dumps(
                {
                    "all": {
                        "hosts": {host: reached_by[host] for host in hosts},
                        "children": {
                            "celery_workers": members,
                            "celery_beat": {"hosts": dict.fromkeys(hosts if beats is None else beats)},
                            # Who shares a Redis leaves it to one of the fleets.
                            "redis": {"hosts": {} if database else {"w1": {}}},
                        },
                        "vars": {
                            "ansible_python_interpreter": sys.executable,
                            "celery_prefix": f"{self.folder}/{{{{ inventory_hostname }}}}",
                            "celery_app_name": fleet,
                            "celery_app": "harvest:app",
                            "celery_app_source": {
                                "type": "existing",
                                "prefix": sys.prefix,
                                "chdir": str(self.folder / "app"),
                            },
                            # A step that says what it must not.
                            "celery_app_steps": [
                                {
                                    "name": "talk",
                                    "argv": ["python", "-c", "import os; print(os.environ['TOKEN'])"],
                                }
                            ],
                            "celery_secrets": {"TOKEN": "{{ vault_token }}"},
                            "celery_worker_pools": [POOL],
                            "celery_service_manager": "multi",
                            "redis_port": self.port,
                            "redis_password": "{{ vault_redis_password }}",
                            "redis_binary": program(),
                            "celery_broker_url": f"{BROKER}{self.port}/{database}",
                            **variables,
                        },
                    }
                }
            )
        )
        return path

    def play(self, inventory: Path, *options: str, playbook: str = "deploy.yml") -> Done:
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(inventory), playbook, self._opens, *options],
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

    def kill(self) -> None:
        for pids in self.running().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
