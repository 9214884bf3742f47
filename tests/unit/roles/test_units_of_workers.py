from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POOLS: list[dict[str, Any]] = [
    {
        "name": "default",
        "queues": ["celery", "a b"],
        "autoscale": {"min": 1, "max": 4},
        "time_limit": "30m",
        "memory_max": "1GB",
        "cpu_quota": "150%",
    },
    {"name": "single", "queues": ["single"], "pool": "solo", "start_timeout": "5m"},
]


def directives(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def units(fleet: Any) -> dict[str, dict[str, list[str]]]:
    nodes = fleet.set_pools(POOLS)
    return {
        node["name"]: directives(fleet.render("celery_worker", "worker.service.j2", node=node))
        for node in nodes
    }


def test_the_command_line_stands_there_in_plain_words(
    fleet: Any, units: dict[str, dict[str, list[str]]]
) -> None:
    (line,) = units["default-1"]["ExecStart"]
    assert line.startswith(
        f'{fleet.root}/bin/celery -A shop.celery:app worker -n default-1@w1 -Q "celery,a b" -O fair '
    )
    assert shlex.split(line)[3:] == fleet.variables["celery_worker_nodes"][0]["argv"]


def test_a_stop_loses_no_task(units: dict[str, dict[str, list[str]]]) -> None:
    unit = units["default-1"]
    assert (unit["KillMode"], unit["KillSignal"]) == (["mixed"], ["SIGTERM"])
    assert unit["TimeoutStopSec"] == ["1830"]
    assert unit["Restart"] == ["always"]


def test_a_stuck_worker_is_killed_soon(units: dict[str, dict[str, list[str]]]) -> None:
    assert units["default-1"]["WatchdogSec"] == ["60"]
    assert int(units["default-1"]["TimeoutAbortSec"][0]) <= 10
    # A solo worker feeds no watchdog while its task runs.
    assert "WatchdogSec" not in units["single-1"]


def test_limits_and_times_are_those_of_the_pool(units: dict[str, dict[str, list[str]]]) -> None:
    assert units["default-1"]["MemoryMax"] == ["1000000000"]
    assert units["default-1"]["CPUQuota"] == ["150%"]
    assert "MemoryMax" not in units["single-1"]
    assert units["single-1"]["TimeoutStartSec"] == ["300"]


def test_the_nodes_environment_wins_over_the_fleets(
    fleet: Any, units: dict[str, dict[str, list[str]]]
) -> None:
    etc = f"{fleet.root}/etc"
    assert units["default-1"]["EnvironmentFile"] == [f"{etc}/environment", f"{etc}/nodes/default-1.env"]


def test_no_secret_stands_in_a_unit(fleet: Any) -> None:
    (node,) = fleet.set_pools([{"name": "p", "queues": ["q"], "environment": {"TOKEN": "hunter2"}}])
    assert "hunter2" not in fleet.render("celery_worker", "worker.service.j2", node=node)
    assert "hunter2" in fleet.render("celery_worker", "node.env.j2", node=node)


def test_the_wrapping_unit_waits_for_the_slowest_node(fleet: Any) -> None:
    fleet.set_pools([POOLS[1], {"name": "slow", "queues": ["slow"], "time_limit": "2h"}], "multi")
    unit = directives(fleet.render("celery_worker", "workers.service.j2"))
    assert unit["Type"] == ["oneshot"] and unit["RemainAfterExit"] == ["yes"]
    assert (unit["TimeoutStartSec"], unit["TimeoutStopSec"]) == (["300"], ["7230"])
    assert unit["ExecStop"] == [f"{fleet.root}/opt/bin/celery-multi stopwait"]
    assert f"$$(cat {fleet.root}/run/start.request)" in unit["ExecReload"][0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units(
    fleet: Any, write_program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    nodes = fleet.set_pools(POOLS)
    write_program("bin/celery", "")
    write_program("opt/bin/celery-multi", "")
    files = {
        "celery-shop.target": fleet.render("celery", "celery.target.j2"),
        "celery-shop-workers.service": fleet.render("celery_worker", "workers.service.j2"),
    }
    for node in nodes:
        name = f"celery-shop-worker@{node['name']}.service"
        files[name] = fleet.render("celery_worker", "worker.service.j2", node=node)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert (done.returncode, ours) == (0, []), done.stderr
