"""Builds releases for real, on this machine, each test below a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The checkout is the installed collection.
sys.path.insert(0, str(ROOT / ".collections"))
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

APP = """
from celery import Celery

app = Celery("tiny", broker="redis://127.0.0.1:1/0")


@app.task
def add(a, b):
    return a + b
"""


class Host:
    """A fleet's folder on this machine, and the application that is deployed to it."""

    root = ROOT
    uv = UV

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.opt = folder / "opt/tiny"
        self.app = folder / "app"
        self.cache = cache
        self.environment = dict(
            os.environ,
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        )
        self.write("tiny/__init__.py", "")
        self.write("tiny/app.py", APP)
        self.write("requirements.txt", "celery[redis]==5.7.0\n")

    def write(self, name: str, text: str) -> None:
        path = self.app / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def current(self) -> str:
        return (
            os.path.basename(os.readlink(self.opt / "current")) if (self.opt / "current").is_symlink() else ""
        )

    @property
    def releases(self) -> list[str]:
        return sorted(path.name for path in (self.opt / "releases").glob("*"))

    def arguments(self, **given: Any) -> dict[str, Any]:
        return {
            "opt_dir": str(self.opt),
            "app": "tiny.app:app",
            "source": {"type": "path", "path": str(self.app)},
            "installer": "uv" if UV else "pip",
            "cache_dir": str(self.cache),
            **given,
        }

    def play(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Carry out calls of the module in one play. `check` and `run`, a command before, are not its own."""
        tasks: list[dict[str, Any]] = []
        for number, call in enumerate(calls):
            given = self.arguments(**call)
            check, run = given.pop("check", False), given.pop("run", None)
            if run:
                tasks.append({"ansible.builtin.shell": run})
            tasks.append(
                {
                    "celeryops.fleet.celery_release": given,
                    "check_mode": check,
                    "ignore_errors": True,
                    "register": f"result_{number}",
                }
            )
        results = [f"result_{number}" for number in range(len(calls))]
        report = self.folder / "results.json"
        report.touch(mode=0o600)
        content = f"{{{{ [{', '.join(results)}] | to_json }}}}"
        tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(report), "mode": "0600"}})
        play = self.folder / "play.json"
        play.write_text(
            json.dumps(
                [
                    {
                        "hosts": "localhost",
                        "connection": "local",
                        "gather_facts": False,
                        "tasks": tasks,
                        "vars": {"ansible_python_interpreter": sys.executable},
                    }
                ]
            )
        )
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i",
                "localhost,",
                "--diff",
                "-vvv",
                str(play),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
        )
        self.output = done.stdout + done.stderr
        assert done.returncode == 0, self.output
        answers: list[dict[str, Any]] = json.loads(report.read_text())
        return answers


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def host(tmp_path: Path, cache: Path) -> Iterator[Host]:
    host = Host(tmp_path, cache)
    yield host
    # Release folders are complete virtualenvs: too much to keep for three runs of pytest.
    shutil.rmtree(tmp_path, ignore_errors=True)
