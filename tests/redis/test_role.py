"""The role under a prefix, by ansible-playbook, from the check on a bare host to the teardown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.collection import COLLECTIONS
from tests.support.redis import free_port, program
from tests.support.waiting import alive, until

# One start of Ansible for several runs of the role: `runs` is what each of them is given.
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: run.yml
      loop: "{{ runs }}"
      loop_control: {loop_var: given, label: another run}
"""
RUN = """
- ansible.builtin.include_role:
    name: celeryops.fleet.redis
    tasks_from: "{{ given.entry | default('main') }}"
  vars:
    redis_password: "{{ given.password | default('') }}"
- ansible.builtin.set_fact:
    results: "{{ results | default([]) + [redis_server | default({})] }}"
- ansible.builtin.copy:
    dest: "{{ result_file }}"
    content: "{{ results | to_json }}"
    mode: "0600"
  check_mode: false
  diff: false
  changed_when: false
"""

Play = Callable[..., "tuple[dict[str, int], list[dict[str, Any]], str]"]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Run the role; returns the counts of the recap, the module's results and everything that was said."""
    playbook = shutil.which(
        "ansible-playbook", path=str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    )
    if not playbook:
        pytest.skip("ansible-playbook is not here")
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "run.yml").write_text(RUN)
    variables = {
        "celery_prefix": str(tmp_path / "fleet"),
        "redis_port": free_port(),
        "redis_binary": program(),
        "result_file": str(tmp_path / "result.json"),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }

    def run(
        *runs: dict[str, Any], flags: Sequence[str] = ()
    ) -> tuple[dict[str, int], list[dict[str, Any]], str]:
        done = subprocess.run(
            [
                playbook,
                "-i",
                "localhost,",
                "-e",
                json.dumps({**variables, "runs": runs}),
                "--diff",
                *flags,
                str(tmp_path / "play.yml"),
            ],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS)),
            capture_output=True,
            text=True,
            check=False,
        )
        recap = re.search(r"^localhost +: (.*)$", done.stdout, re.MULTILINE)
        assert recap and "failed=0" in recap[1], done.stdout + done.stderr
        stats = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap[1])}
        return stats, json.loads((tmp_path / "result.json").read_text()), done.stdout

    yield run
    pidfile = tmp_path / "fleet/run/redis/redis.pid"
    if pidfile.exists() and alive(pid := int(pidfile.read_text())):
        os.kill(pid, signal.SIGKILL)


def test_life(play: Play, tmp_path: Path) -> None:
    stats, _results, _said = play({}, flags=["--check"])
    assert stats["changed"] == 2
    assert not (tmp_path / "fleet").exists()

    stats, (first, again), said = play({}, {})
    assert stats["changed"] == 2 and first["changed"] and not again["changed"]
    password = (tmp_path / "fleet/etc/redis/password").read_text().strip()
    assert password and password not in said
    pid = first["pid"]
    assert again["pid"] == pid
    # The play's own are a few for each run, another checks the arguments.
    assert stats["ok"] <= 2 * 10

    chosen = {"password": "chosen-by-the-operator"}
    stats, (changed, *_), said = play(chosen, {"entry": "absent"}, {"entry": "absent"})
    assert stats["changed"] == 1 + 1 + 0
    assert changed["pid"] == pid and changed["changed_settings"] == ["requirepass"]
    assert "chosen-by-the-operator" not in said
    until(lambda: not alive(pid), "the server is stopped")
    assert {path.parent.parent.name for path in (tmp_path / "fleet").rglob("*") if path.is_file()} <= {
        "lib",
        "redis",
    }
