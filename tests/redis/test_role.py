"""The role under a prefix, by ansible-playbook, from the check on a bare host to the teardown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis import free_port, program
from tests.support.waiting import alive, until

from .conftest import COLLECTIONS

PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: celeryops.fleet.redis
        tasks_from: "{{ entry | default('main') }}"
    - ansible.builtin.copy:
        dest: "{{ result_file }}"
        content: "{{ redis_server | default({}) | to_json }}"
        mode: "0600"
      check_mode: false
      diff: false
      changed_when: false
"""

Play = Callable[..., "tuple[dict[str, int], dict[str, Any], str]"]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Run the role; returns the counts of the recap, the module's result and everything that was said."""
    playbook = shutil.which(
        "ansible-playbook", path=str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    )
    if not playbook:
        pytest.skip("ansible-playbook is not here")
    (tmp_path / "play.yml").write_text(PLAY)
    variables = {
        "celery_prefix": str(tmp_path / "fleet"),
        "redis_port": free_port(),
        "redis_binary": program(),
        "result_file": str(tmp_path / "result.json"),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }

    def run(*flags: str, **changes: Any) -> tuple[dict[str, int], dict[str, Any], str]:
        done = subprocess.run(
            [
                playbook,
                "-i",
                "localhost,",
                "-e",
                json.dumps({**variables, **changes}),
                *flags,
                str(tmp_path / "play.yml"),
            ],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS)),
            capture_output=True,
            text=True,
            check=False,
        )
        recap = re.search(r"^localhost +: (.*)$", done.stdout, re.MULTILINE)
        assert recap, done.stdout + done.stderr
        stats = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap[1])}
        return stats, json.loads((tmp_path / "result.json").read_text()), done.stdout

    yield run
    pidfile = tmp_path / "fleet/run/redis/redis.pid"
    if pidfile.exists() and alive(pid := int(pidfile.read_text())):
        os.kill(pid, signal.SIGKILL)


def test_life(play: Play, tmp_path: Path) -> None:
    stats, result, _said = play("--check", "--diff")
    assert stats["failed"] == 0 and stats["changed"] == 2
    assert not (tmp_path / "fleet").exists()

    stats, result, said = play("--diff")
    assert stats["failed"] == 0 and stats["changed"] == 2
    password = (tmp_path / "fleet/etc/redis/password").read_text().strip()
    assert password and password not in said
    pid = result["pid"]

    stats, result, _said = play("--diff")
    assert stats["failed"] == 0 and stats["changed"] == 0 and result["pid"] == pid
    assert stats["ok"] <= 7  # two of them are of the play, and one checks the arguments

    stats, result, said = play("--diff", redis_password="chosen-by-the-operator")
    assert stats["changed"] == 1 and result["pid"] == pid and result["changed_settings"] == ["requirepass"]
    assert "chosen-by-the-operator" not in said

    stats, _result, _said = play(entry="absent")
    assert stats["failed"] == 0 and stats["changed"] == 1
    until(lambda: not alive(pid), "the server is stopped")
    assert {path.parent.parent.name for path in (tmp_path / "fleet").rglob("*") if path.is_file()} <= {
        "lib",
        "redis",
    }
    stats, _result, _said = play(entry="absent")
    assert stats["changed"] == 0
