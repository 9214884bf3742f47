# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module as Ansible runs it, against this machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MODULE = "ansible_collections.celeryops.fleet.plugins.modules.celery_preflight"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this test listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def nodes_of_two_fleets(tmp_path: Path) -> Iterator[None]:
    """What looks like nodes to those who only look: by environment, command line and what they catch."""
    names = {"beat": "shop", "default-1": "shop", "default-2": "meadow"}
    code = (
        "import signal, time; signal.signal(signal.SIGINT, print); print('here', flush=True); time.sleep(600)"
    )
    with contextlib.ExitStack() as running:
        for node, fleet in names.items():
            environment = {
                **os.environ,
                "CELERYOPS_NODE": node,
                "CELERYOPS_FLEET": fleet,
                "CELERYOPS_RUN_DIR": str(tmp_path),
            }
            command = [sys.executable, "-c", code, "beat" if node == "beat" else "worker"]
            process = running.enter_context(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
            )
            running.callback(process.kill)
            assert process.stdout and process.stdout.readline() == b"here\n"
        yield


def preflight(**params: Any) -> dict[str, Any]:
    arguments = {"ANSIBLE_MODULE_ARGS": {"fleet": "shop", **params, "_ansible_remote_tmp": "/tmp"}}
    # ansible-core 2.19 wants to be told how its input is encoded; before, it takes the same bytes.
    start = (
        "import runpy, sys\n"
        "from ansible.module_utils import basic\n"
        "basic._ANSIBLE_ARGS = sys.stdin.buffer.read()\n"
        "basic._ANSIBLE_PROFILE = 'legacy'\n"
        f"runpy.run_module({MODULE!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", start],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.stdout, ended.stderr
    return dict(json.loads(ended.stdout))


def test_a_host_that_will_do(tmp_path: Path) -> None:
    result = preflight(
        paths=[
            {
                "path": str(tmp_path / "opt"),
                "purpose": "releases",
                "variable": "celery_opt_dir",
                "free": "1MB",
            }
        ],
        pythons=[{"executable": sys.executable, "minimum": "3.8", "variable": "celery_app_python"}],
    )
    assert result["problems"] == []
    assert result["changed"] is False
    assert result["pythons"][0]["version"] == sys.version.split()[0]
    assert list(tmp_path.iterdir()) == []


def test_all_problems_are_told_at_once(tmp_path: Path, taken: int) -> None:
    (tmp_path / "file").write_text("")
    result = preflight(
        ports=[{"port": taken, "purpose": "Flower", "variable": "celery_flower_port"}],
        paths=[
            {"path": str(tmp_path / "file" / "opt"), "purpose": "releases", "variable": "celery_opt_dir"},
            {
                "path": str(tmp_path / "var"),
                "purpose": "state",
                "variable": "celery_state_dir",
                "free": "900000TB",
            },
        ],
        sockets=[{"path": f"/{'x' * 120}", "purpose": "Redis", "variable": "redis_socket"}],
        pythons=[{"executable": sys.executable, "minimum": "4.0", "variable": "celery_app_python"}],
    )
    assert result["failed"] is True
    variables = [one["place"].partition(",")[0] for one in result["problems"]]
    assert variables == [
        "celery_opt_dir",
        "celery_state_dir",
        "redis_socket",
        "celery_app_python",
        "celery_flower_port",
    ]
    assert f"process {os.getpid()}" in result["problems"][-1]["reason"]
    assert result["msg"].count("\n- ") == len(variables)


def test_the_fleets_own_process_keeps_its_port(tmp_path: Path, taken: int) -> None:
    pidfile = tmp_path / "flower.pid"
    pidfile.write_text(str(os.getpid()))
    port = {"port": taken, "purpose": "Flower", "variable": "celery_flower_port", "pidfile": str(pidfile)}
    assert preflight(ports=[port])["problems"] == []


@pytest.mark.usefixtures("nodes_of_two_fleets")
def test_the_fleets_own_nodes_are_named(tmp_path: Path) -> None:
    assert preflight(run_dir=str(tmp_path))["nodes"] == ["beat", "default-1"]
    assert preflight(run_dir=str(tmp_path), fleet="meadow")["nodes"] == ["default-2"]
    assert preflight(run_dir=str(tmp_path / "other"))["nodes"] == []


def test_a_size_without_a_unit_is_refused() -> None:
    result = preflight(
        paths=[{"path": "/opt", "purpose": "releases", "variable": "celery_opt_dir", "free": "500"}]
    )
    assert "has no unit" in result["msg"]
