"""What cannot work is refused with the value, the place and the remedy, and nothing is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120  # seconds
# A mount that only this process and its children see.
SMALL = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=20m none "$0" && exec "$@"',
]


def pools(*changes: dict[str, Any]) -> dict[str, Any]:
    """Variables with one pool for every change, each right but for the change."""
    return {"celery_worker_pools": [{"name": "default", "queues": ["celery"], **one} for one in changes]}


POOLS = {
    "unknown key": (pools({"concurency": 2}), ["concurency", "default", "concurrency"]),
    "min above max": (pools({"autoscale": {"min": 5, "max": 2}}), ["default", "autoscale", "5", "2"]),
    "concurrency and autoscale": (
        pools({"concurrency": 2, "autoscale": {"min": 1, "max": 2}}),
        ["default", "concurrency", "autoscale", "both"],
    ),
    "two pools of one name": (
        pools({}, {"queues": ["other"]}),
        ["default", "celery_worker_pools[1]", "Rename"],
    ),
    "size without a unit": (pools({"max_memory_per_child": 400}), ["max_memory_per_child", "400", "MB"]),
    "duration without a unit": (pools({"time_limit": 30}), ["time_limit", "30", "unit"]),
    "beat in a worker": (pools({"extra_args": ["-B"]}), ["-B", "celery_beat"]),
    "Redis that evicts": ({"redis_maxmemory_policy": "allkeys-lru"}, ["allkeys-lru", "noeviction"]),
    "Redis Cluster": (
        {"redis_settings": {"cluster-enabled": "yes"}},
        ["cluster-enabled", "Cluster", "remove"],
    ),
}


def refused(prefix: Path, variables: dict[str, Any], within: Sequence[str] = ()) -> str:
    """Deploy and return the words of the refusal, on one line."""
    before = tree(prefix.parent)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"redis_port": one.getsockname()[1], "celery_flower_port": other.getsockname()[1]}
    given = json.dumps({"celery_prefix": str(prefix), **ports, **variables})
    play = str(Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run(
        [*within, play, "-i", "inventories/local", "deploy.yml", "-e", given],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
    )
    assert done.returncode != 0, done.stdout
    assert "changed=0" in done.stdout, done.stdout
    assert tree(prefix.parent) == before
    return " ".join(done.stdout.split())


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in paths}


def executable(path: Path, does: str) -> str:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("case", POOLS)
def test_inventory(case: str, tmp_path: Path) -> None:
    variables, words = POOLS[case]
    message = refused(tmp_path / "prefix", variables)
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize("variable", ["redis_port", "celery_flower_port"])
def test_port_in_use(variable: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        message = refused(tmp_path / "prefix", {variable: port})
    assert str(port) in message
    assert variable in message
    assert str(os.getpid()) in message


def test_prefix_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way\n")
    message = refused(tmp_path / "file" / "prefix", {})
    assert "celery_prefix" in message
    assert str(tmp_path / "file") in message


def test_prefix_without_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    within = [*SMALL, str(small)]
    if subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody but root mount a small filesystem")
    message = refused(small / "prefix", {}, within)
    assert str(small / "prefix") in message
    assert "needed" in message


def too_old_redis(folder: Path) -> dict[str, Any]:
    return {"redis_binary": executable(folder / "redis-server", "echo Redis server v=5.0.14 bits=64")}


def too_old_python(folder: Path) -> dict[str, Any]:
    """The Python of the tests, which says it is an old one before it runs the code it is given last."""
    pretend = 'import platform, sys; sys.version_info = (3, 6, 9); platform.python_version = lambda: "3.6.9"'
    does = f"exec {sys.executable} -c '{pretend}; exec(sys.argv[-1])' \"$@\""
    return {"celery_app_python": executable(folder / "python3", does)}


@pytest.mark.parametrize(
    "old, words",
    [(too_old_redis, ["5.0.14", "6.2", "redis_binary"]), (too_old_python, ["3.6.9", "celery_app_python"])],
)
def test_too_old(old: Callable[[Path], dict[str, Any]], words: list[str], tmp_path: Path) -> None:
    message = refused(tmp_path / "prefix", old(tmp_path))
    assert not [word for word in words if word not in message], message
