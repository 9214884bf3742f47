"""A clone of this checkout that is deployed as a new user would, on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.once import ONCE
from tests.support.redis import free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY_TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, int]:
        """{"ok": 41, "changed": 0, ...} of localhost, from the end of ansible-playbook's output."""
        _, _, recap = self.output.rpartition("PLAY RECAP")
        counts = dict(_RECAP.findall(recap))["localhost"]
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)}


class Checkout:
    """A clone, its fleet under `.local`, and what runs of it."""

    def __init__(self, path: Path, home: Path) -> None:
        self.path = path
        self.home = home
        self.prefix = path / ".local"
        self.ports = {"redis_port": free_port(), "celery_flower_port": free_port()}
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ANSIBLE", "CELERY"))
            },
            "HOME": str(home),
            "ANSIBLE_NOCOLOR": "1",
        }

    def hurry(self) -> None:
        """From now on plays do once what Ansible does anew in every run. Until then they are a new user's."""
        self._environment.update(ONCE)

    def run(self, *command: str) -> Done:
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEPLOY_TIMEOUT,
        )
        return Done(done.returncode, done.stdout)

    def arguments(self, *extra: str) -> list[str]:
        return ["-e", json.dumps(self.ports), *extra]

    def make(self, target: str, *extra: str) -> Done:
        return self.run("make", target, f"ARGS={shlex.join(self.arguments(*extra))}")

    def manage(self, *arguments: str) -> Done:
        """The application's own command, in the fleet's environment."""
        return self.run(str(self.prefix / "opt/celery/shop/bin/run"), "python", "manage.py", *arguments)

    def processes(self) -> dict[int, str]:
        """Command lines, by pid, of everything that runs out of the prefix."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = f"{text} {(folder / 'cwd').readlink()} {(folder / 'exe').readlink()}"
            except OSError:
                continue
            if str(self.prefix) in place:
                found[int(folder.name)] = text.strip()
        return found

    def mains(self) -> dict[int, str]:
        """Those of the processes that no other one of them has started."""
        all_of_them = self.processes()
        return {pid: text for pid, text in all_of_them.items() if _parent(pid) not in all_of_them}


def _parent(pid: int) -> int:
    try:
        # The name in parentheses may itself hold blanks and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    directory = tmp_path_factory.mktemp("deploy")
    path = directory / "clone"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(path)], check=True)
    (directory / "home").mkdir()
    checkout = Checkout(path, directory / "home")
    try:
        yield checkout
    finally:
        for pid in checkout.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
