"""A private server from its first start to its teardown, with every server binary there is."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path
from typing import Any

from tests.support.redis import free_port
from tests.support.waiting import alive, until

from .conftest import Server


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_check_mode_on_a_bare_host_touches_nothing(each: Server) -> None:
    result = each.run(check=True, diff=True)
    assert result["changed"] and result["started"] and result["pid"] is None
    assert result["version"]
    assert not each.prefix.exists()


def test_starts_and_a_second_run_keeps_the_process(each: Server) -> None:
    first = each.changed()
    assert first["started"] and alive(first["pid"])
    assert each.call("PING") == "PONG"
    second = each.unchanged()
    assert second["pid"] == first["pid"]
    assert not second["started"] and not second["restarted"] and second["changed_settings"] == []
    assert mode(each.config) == 0o600
    assert mode(each.data) == mode(each.config.parent) == mode(each.pid_file.parent) == 0o700
    assert mode(each.prefix) == mode(each.prefix / "opt/redis") == 0o755


def test_the_password_is_asked_for(each: Server) -> None:
    each.changed()
    assert "NOAUTH" in each.call("PING", password="")


def test_changes_live_what_can_change_live(each: Server) -> None:
    pid = each.changed()["pid"]
    each.call("SET", "job", "queued")
    foreseen = each.run(check=True, maxmemory="200MB", settings={"loglevel": "verbose"})
    assert foreseen["changed"] and not foreseen["restarted"]
    assert foreseen["changed_settings"] == ["loglevel", "maxmemory"]
    assert each.call("CONFIG", "GET", "maxmemory")[1] == "100000000"
    result = each.changed()
    assert result["pid"] == pid and not result["restarted"]
    assert result["changed_settings"] == ["loglevel", "maxmemory"]
    assert each.call("CONFIG", "GET", "maxmemory")[1] == "200000000"
    each.unchanged()


def test_the_append_only_file_is_switched_on_last(each: Server) -> None:
    """It forks. A server that gets a new address while the child still has its sockets is left with none."""
    each.options.update(bind=["127.0.0.1"], directives=dict(each.options["directives"], appendonly=False))
    each.changed()
    each.call("CONFIG", "SET", "slowlog-log-slower-than", "0")  # every command, the newest first
    directives = dict(each.options["directives"], appendonly=True)
    result = each.changed(bind=["127.0.0.1", "-::1"], directives=directives)
    assert result["changed_settings"] == ["appendonly", "bind"]
    commands = [entry[3] for entry in each.call("SLOWLOG", "GET", "128")]
    settings = [words[2] for words in commands if words[:2] == ["CONFIG", "SET"]]
    assert settings.index("appendonly") < settings.index("bind")
    each.unchanged()


def test_restarts_for_what_only_a_start_reads(each: Server) -> None:
    pid = each.changed()["pid"]
    each.call("SET", "job", "queued")
    directives = dict(each.options["directives"], databases=4)
    foreseen = each.run(check=True, directives=directives)
    assert foreseen["restarted"] and foreseen["changed_settings"] == ["databases"]
    result = each.changed()
    assert result["restarted"] and result["pid"] != pid and not alive(pid)
    assert each.call("CONFIG", "GET", "databases")[1] == "4"
    assert each.call("GET", "job") == "queued"
    each.unchanged()


def test_a_directive_that_leaves_falls_back_to_its_default(each: Server) -> None:
    each.changed(settings={"loglevel": "verbose"})
    assert each.changed(settings={})["restarted"]
    assert each.call("CONFIG", "GET", "loglevel")[1] == "notice"
    each.unchanged()


def test_a_new_password_reaches_a_server_that_has_the_old_one(each: Server) -> None:
    pid = each.changed()["pid"]
    result = each.run(diff=True, password="second-password")
    assert result["changed"] and result["pid"] == pid
    assert result["changed_settings"] == ["requirepass"]
    assert "first-password" not in str(result) and "second-password" not in str(result)
    assert each.call("PING") == "PONG"
    each.unchanged()


def test_moves_to_another_port(each: Server) -> None:
    each.changed()
    each.call("SET", "job", "queued")
    each.changed(port=free_port())
    assert each.call("GET", "job") == "queued"
    each.unchanged()


def appended(server: Server) -> str:
    """What is in the append-only files. The server renames them when it likes."""
    found = []
    for path in server.data.rglob("*.aof"):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.read_text(errors="replace"))
    return "".join(found)


def test_data_survives_a_crash_and_the_next_run_starts_it_again(each: Server) -> None:
    each.changed()
    each.call("SET", "job", "queued")
    each.call("BGREWRITEAOF")
    each.call("SET", "other", "queued too")
    until(lambda: "queued too" in appended(each), "the server has written it down")
    each.kill()
    result = each.changed()
    assert result["started"] and not result["restarted"]
    assert each.call("GET", "other") == "queued too"
    each.unchanged()


def test_append_only_switched_on_later_keeps_the_data(each: Server) -> None:
    off = dict(each.options["directives"], appendonly=False)
    on = dict(off, appendonly=True)
    each.changed(directives=off)
    each.call("SET", "job", "queued")
    result = each.changed(directives=on)
    assert not result["restarted"]
    each.kill()
    each.changed()
    assert each.call("GET", "job") == "queued"
    # Down while it is switched on: a server that is simply started with it would come up empty.
    each.changed(directives=off)
    each.call("SET", "late", "queued")
    each.call("SAVE")
    each.kill()
    each.changed(directives=on)
    assert each.call("GET", "late") == "queued"
    each.unchanged()


def test_append_only_and_a_restart_at_once(each: Server) -> None:
    each.changed(directives=dict(each.options["directives"], appendonly=False))
    each.call("SET", "job", "queued")
    assert each.changed(directives=dict(each.options["directives"], appendonly=True, databases=3))[
        "restarted"
    ]
    assert each.call("GET", "job") == "queued"


def test_teardown_keeps_the_data_and_the_next_deploy_finds_it(each: Server) -> None:
    pid = each.changed()["pid"]
    each.call("SET", "job", "queued")
    foreseen = each.run(check=True, state="absent")
    assert foreseen["changed"] and foreseen["stopped"] and alive(pid)
    result = each.changed()
    assert result["stopped"] and not alive(pid)
    left = {path.relative_to(each.prefix).parts[:3] for path in each.prefix.rglob("*") if path.is_file()}
    assert left == {("var", "lib", "redis")}
    assert not each.unchanged()["stopped"]
    each.changed(state="present")
    assert each.call("GET", "job") == "queued"
    each.changed(state="absent", remove_data=True)
    assert not [path for path in each.prefix.rglob("*") if path.is_file()]


def test_the_operators_spelling_is_no_change(each: Server) -> None:
    """The server has its own way of writing these; a second run must not see a difference."""
    settings: dict[str, Any] = {
        "notify-keyspace-events": "KEA",
        "client-output-buffer-limit": ["pubsub 1mb 512kb 30", "replica 2mb 1mb 30"],
        "save": ["900 1", "300 10"],
        "unixsocketperm": "700",
        "repl-backlog-size": "2MB",
        "slowlog-log-slower-than": 20000,
    }
    pid = each.changed(settings=settings)["pid"]
    assert each.unchanged()["pid"] == pid
    assert each.call("CONFIG", "GET", "save")[1] == "900 1 300 10"
