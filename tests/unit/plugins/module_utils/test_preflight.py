# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import (
    Deployment,
    Interpreter,
    Port,
    Problem,
    Space,
    collides,
    path_problems,
    port_problems,
    python_problems,
    scheduler_problems,
    socket_problems,
    systemd_problems,
    version_of,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.sockets import Listener

SHOP = Deployment("shop", "/run/celery/shop", "shop.celery:app")
FLOWER = Port(5555, "127.0.0.1", "Flower", "celery_flower_port", "/run/celery/shop/flower.pid")
OURS = {"CELERYOPS_FLEET": "shop", "CELERYOPS_RUN_DIR": "/run/celery/shop"}


def process(pid: int, line: str, environ: dict[str, str] | None = None, ppid: int = 1) -> Process:
    return Process(pid, ppid, 1, tuple(line.split()), environ)


def ports(
    *wanted: Port,
    found: dict[Port, list[tuple[Listener, Process | None]]] | None = None,
    missing: set[str] = frozenset(),  # type: ignore[assignment]
    pids: dict[str, int] | None = None,
) -> list[Problem]:
    return port_problems(wanted, found or {}, missing, 1024, SHOP, pids or {})


def listener(pid: int, address: str = "127.0.0.1", port: int = 5555) -> Listener:
    return Listener(address, port, 33, "4711", pid)


def test_a_problem_names_value_place_reason_and_remedy() -> None:
    text = str(Problem("celery_flower_port", "127.0.0.1:80", "only root may", "Set another"))
    assert text == "celery_flower_port (127.0.0.1:80): only root may. Set another."


def test_a_free_port_is_no_problem() -> None:
    assert ports(FLOWER) == []


def test_a_port_in_use_names_the_process() -> None:
    found = {FLOWER: [(listener(812), process(812, "nginx: master"))]}
    (problem,) = ports(FLOWER, found=found)
    assert problem.value == "127.0.0.1:5555"
    assert "process 812 (nginx: master)" in problem.reason
    assert "set celery_flower_port" in problem.remedy


def test_a_process_that_may_not_be_seen_is_named_by_its_user() -> None:
    (problem,) = ports(FLOWER, found={FLOWER: [(listener(0), None)]})
    assert "a process of user id 33" in problem.reason


@pytest.mark.parametrize(
    "environ, own",
    [
        (OURS, True),
        ({"CELERYOPS_FLEET": "shop"}, True),
        ({"CELERYOPS_FLEET": "other"}, False),
        ({**OURS, "CELERYOPS_RUN_DIR": "/home/bob/.local/run/celery/shop"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_the_fleets_own_process_may_have_its_port(environ: dict[str, str] | None, own: bool) -> None:
    found = {FLOWER: [(listener(7), process(7, "celery flower", environ))]}
    assert (ports(FLOWER, found=found) == []) is own


def test_a_process_known_by_its_pidfile_may_have_its_port() -> None:
    found: Any = {FLOWER: [(listener(7), None)]}
    assert ports(FLOWER, found=found, pids={FLOWER.pidfile: 7}) == []
    assert ports(FLOWER, found=found, pids={FLOWER.pidfile: 8}) != []


def test_two_variables_cannot_have_one_port() -> None:
    redis = Port(5555, "0.0.0.0", "Redis", "redis_port")
    (problem,) = ports(FLOWER, redis)
    assert "celery_flower_port and redis_port" in problem.place
    assert ports(FLOWER, Port(5555, "10.0.0.1", "Redis", "redis_port")) == []


def test_low_ports_and_strange_addresses_are_refused() -> None:
    low = Port(443, "127.0.0.1", "Flower", "celery_flower_port")
    assert "only root" in ports(low)[0].reason
    far = Port(5555, "10.9.8.7", "Flower", "celery_flower_address")
    assert "no address of this host" in ports(far, missing={"10.9.8.7"})[0].reason


@pytest.mark.parametrize(
    "address, expected",
    [("127.0.0.1", True), ("0.0.0.0", True), ("::", True), ("10.0.0.1", False), ("::1", False)],
)
def test_what_is_in_the_way_of_a_port(address: str, expected: bool) -> None:
    assert collides(FLOWER, listener(1, address)) is expected
    assert not collides(FLOWER, listener(1, address, 5556))


def space(**more: Any) -> Space:
    given = {"purpose": "releases", "variable": "celery_opt_dir", "base": "/opt", **more}
    return Space(given.pop("path", "/opt/celery/shop"), **given)


@pytest.mark.parametrize(
    "found, reason",
    [
        (space(path="opt"), "no absolute path"),
        (space(is_folder=False, base="/opt/celery"), "/opt/celery exists and is no folder"),
        (space(refused="Permission denied"), "nothing can be created in /opt: Permission denied"),
        (space(noexec=True, executes=True), "noexec"),
        (space(needed=10**9, free=5 * 10**8), "500 MB left, 1.0 GB are needed for releases"),
        (space(inodes_needed=20000, inodes=12), "12 more files, 20000 are needed"),
    ],
)
def test_paths_that_cannot_be_used(found: Space, reason: str) -> None:
    (problem,) = path_problems([found])
    assert reason in problem.reason
    assert problem.value == found.path
    assert "celery_opt_dir" in problem.place


def test_paths_that_can_be_used() -> None:
    assert path_problems([space(needed=10, free=10, inodes=None, inodes_needed=5), space(noexec=True)]) == []


def test_paths_of_one_filesystem_share_its_room() -> None:
    state = space(
        path="/var/lib/celery/shop", purpose="state", variable="celery_state_dir", needed=60, free=100
    )
    code = space(needed=60, free=100)
    (problem,) = path_problems([code, state])
    assert problem.place == "celery_opt_dir, celery_state_dir"
    assert "for releases and state" in problem.reason
    elsewhere = space(path="/data", needed=60, free=100, device=2)
    assert path_problems([code, elsewhere]) == []


def test_socket_paths_have_107_bytes() -> None:
    assert socket_problems([("/" + "x" * 106, "Redis", "redis_socket")]) == []
    (problem,) = socket_problems([("/" + "ä" * 60, "Redis", "redis_socket")])
    assert "this one has 121" in problem.reason


def interpreter(**more: Any) -> Interpreter:
    given = {"variable": "celery_app_python", "version": "3.11.2", **more}
    return Interpreter("python3", "3.10", **given)


@pytest.mark.parametrize(
    "found, reason",
    [
        (interpreter(version="3.9.18"), "is Python 3.9.18, 3.10 or newer is needed"),
        (interpreter(version=""), "does not run: no such program"),
        (interpreter(version="", said="cannot execute binary file"), "cannot execute binary file"),
        (interpreter(builds=False), "no venv module"),
    ],
)
def test_pythons_that_cannot_be_used(found: Interpreter, reason: str) -> None:
    (problem,) = python_problems([found])
    assert reason in problem.reason
    assert "celery_app_python" in problem.place


def test_pythons_that_can_be_used() -> None:
    assert (
        python_problems([interpreter(), interpreter(version="3.10.0rc1"), interpreter(version="4.0")]) == []
    )
    assert version_of("3.10.0rc1") == (3, 10, 0)


@pytest.mark.parametrize(
    "version, running, reason",
    [(252, False, "not the service manager"), (237, True, "this host's is 237"), (0, True, "does not tell")],
)
def test_a_systemd_that_cannot_be_used(version: int, running: bool, reason: str) -> None:
    (problem,) = systemd_problems(version, running, "celery_service_manager")
    assert reason in problem.reason
    assert "multi" in problem.remedy


def test_a_systemd_that_can_be_used() -> None:
    assert systemd_problems(240, True, "celery_service_manager") == []


BEAT = "python celery -A shop.celery:app beat"
WORKER_B = "python celery -A shop.celery:app worker -B"


@pytest.mark.parametrize(
    "line, environ, reason",
    [
        (BEAT, {}, "second beat"),
        (BEAT, {**OURS, "CELERYOPS_NODE": "beat"}, None),
        (BEAT, {**OURS, "CELERYOPS_NODE": "default-1"}, "second beat"),
        (BEAT, {"CELERYOPS_FLEET": "other", "CELERYOPS_NODE": "beat"}, None),
        (BEAT, {**OURS, "CELERYOPS_RUN_DIR": "/elsewhere", "CELERYOPS_NODE": "beat"}, None),
        (BEAT, None, None),
        (WORKER_B, {**OURS, "CELERYOPS_NODE": "default-1"}, "a worker with a beat in it"),
        (WORKER_B, {}, "a worker with a beat in it"),
        ("celery -A shop beat", {}, "second beat"),
        ("celery beat", {"CELERY_APP": "shop"}, "second beat"),
        ("celery -A other beat", {}, None),
        ("celery beat", {}, None),
        ("celery -A shop worker", {}, None),
        ("vim beat", {}, None),
    ],
)
def test_what_sends_scheduled_tasks(line: str, environ: dict[str, str] | None, reason: str | None) -> None:
    problems = scheduler_problems({42: process(42, line, environ)}, SHOP)
    if reason is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.place == "process 42"
        assert line in problem.value
        assert reason in problem.reason


def test_pool_children_are_not_named_beside_their_worker() -> None:
    running = {1: process(1, WORKER_B, {}, ppid=0), 2: process(2, WORKER_B, {}, ppid=1)}
    assert [one.place for one in scheduler_problems(running, SHOP)] == ["process 1"]


def test_without_an_application_only_the_fleets_own_are_looked_at() -> None:
    nameless = Deployment("shop", "/run/celery/shop")
    assert scheduler_problems({7: process(7, BEAT, {})}, nameless) == []
    assert scheduler_problems({7: process(7, WORKER_B, dict(OURS))}, nameless) != []
