"""Folders of this machine that stand for hosts, each with a prefix of its own.

The second is reached by what stands for ssh and can cut it off.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.redis import free_port, program

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long

# Its name is nobody else's: a beat for the same application that runs on this machine would be refused.
APPLICATION = """
from celery import Celery

app = Celery("harvest")


@app.task
def add(a, b):
    return a + b
"""

# Runs the command here. Where the file `cut` stands beside it, whoever sends the module that it names, and
# everybody after that, finds no host.
SSH = """#!/bin/sh
for command; do :; done
given=$(mktemp)
[ -t 0 ] || cat > "$given"
if [ -e {cut} ] && grep -q "$(cat {cut})" "$given"; then
    : > {cut}
    rm "$given"
    echo "ssh: connect to host w2 port 22: No route to host" >&2
    exit 255
fi
sh -c "$command" < "$given"
code=$?
rm "$given"
exit $code
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
        self.cut = folder / "cut"
        self.ssh = folder / "ssh"
        self.ssh.write_text(SSH.format(cut=self.cut))
        self.ssh.chmod(0o755)
        (folder / "app").mkdir()
        (folder / "app/harvest.py").write_text(APPLICATION)

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
            "w3": local,
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
                            "celery_worker_pools": [
                                {"name": "default", "queues": ["celery"], "concurrency": 1}
                            ],
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

    def kill(self) -> None:
        for pids in self.running().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
