from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils import commands, listening
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import launchers
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Step, Wanted


def test_only_what_a_daemon_may_inherit_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("TZ", "UTC")
    environment = commands.clean_environment()
    assert "SSH_AUTH_SOCK" not in environment
    assert environment["TZ"] == "UTC" and environment["HOME"] and environment["USER"]


def test_environment_files_are_sourced_in_order_and_exported(tmp_path: Path) -> None:
    first, second = tmp_path / "a.env", tmp_path / "b c.env"
    first.write_text('A="1"\nB="first \\"quoted\\" \\\\ \\`x\\`"\n')
    second.write_text('A="2"\n')
    show = ["/bin/sh", "-c", 'echo "$A|$B|$1"', "sh", "--"]
    result = commands.run(commands.sourced([str(first), str(second)], show))
    assert result.out == '2|first "quoted" \\ `x`|--\n'


def test_no_secret_stands_on_the_command_line() -> None:
    assert commands.sourced(["/etc/x"], ["celery"])[-3:] == ["/etc/x", "--", "celery"]
    assert commands.sourced([], ["celery", "beat"]) == ["celery", "beat"]


def test_a_missing_environment_file_stops_the_command(tmp_path: Path) -> None:
    result = commands.run(commands.sourced([f"{tmp_path}/none"], ["echo", "started"]))
    assert result.rc != 0 and "started" not in result.out and "none" in result.err


def test_a_launch_is_not_held_up_by_what_it_leaves_running() -> None:
    began = time.monotonic()
    launch = commands.Launch(["/bin/sh", "-c", "echo begun; sleep 60 & exit 3"])
    while launch.rc is None:
        time.sleep(0.01)
    assert launch.rc == 3 and launch.output() == "begun"
    assert time.monotonic() - began < 40


def test_a_launch_of_nothing() -> None:
    launch = commands.Launch(["/nowhere/celery-multi", "start"])
    assert launch.rc == 127 and "/nowhere/celery-multi" in launch.output()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_an_unknown_user_is_named() -> None:
    with pytest.raises(LookupError, match="no user nobody-of-that-name"):
        commands.run(["true"], user="nobody-of-that-name")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_commands_run_as_the_fleets_user() -> None:
    result = commands.run(["/bin/sh", "-c", "id -un; echo $HOME"], user="nobody")
    assert result.out.splitlines()[0] == "nobody"
    assert commands.become("root") is None and commands.become(None) is None


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" * 5)
    offset = commands.size(str(log))
    log.write_text("old\n" * 5 + "new 1\nnew 2\n")
    assert commands.tail(str(log), offset=offset) == "new 1\nnew 2"
    assert commands.tail(str(log), lines=1) == "new 2"
    log.write_text("rotated\n")
    assert commands.tail(str(log), offset=offset) == "rotated"
    log.write_text("x" * 200_000 + "\nend\n")
    assert len(commands.tail(str(log))) < 70_000
    assert commands.tail(f"{log}.none") == "" and commands.size(f"{log}.none") == 0


@pytest.mark.parametrize(
    "address, pair",
    [
        ("127.0.0.1:5555", ("127.0.0.1", 5555)),
        ("0.0.0.0:5555", ("127.0.0.1", 5555)),
        (":5555", ("127.0.0.1", 5555)),
        ("[::]:5555", ("::1", 5555)),
        ("flower.example:80", ("flower.example", 80)),
    ],
)
def test_addresses(address: str, pair: tuple[str, int]) -> None:
    assert listening.split(address) == pair


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(ValueError, match="localhost is no address"):
        listening.split("localhost")


def test_nothing_listens() -> None:
    assert not listening.accepts("127.0.0.1:1") and not listening.accepts("/nowhere/socket")
    assert not listening.wait("127.0.0.1:1", 0)


def test_a_detached_command() -> None:
    node = Wanted("beat", "f", argv=("/v/bin/celery", "beat"), env_files=("/e/environment",), chdir="/app")
    command = launchers.Detached("/v/bin/python", "/run", "/log", None).arguments(
        Step("beat", "start", "", node)
    )
    tail = command[command.index("--") + 1 :]
    assert tail == [
        *("/v/bin/python", "-m", "celeryops", "detach", "--pidfile", "/run/beat.pid"),
        *("--logfile", "/log/beat.log", "--chdir", "/app", "--", "/v/bin/celery", "beat"),
    ]
