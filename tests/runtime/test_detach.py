from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def detach(grove: Any) -> Any:
    started: list[int] = []

    def run(*command: str, check: bool = True, **environment: str) -> Any:
        files = [
            "--pidfile",
            str(grove.folder / "pid"),
            "--logfile",
            str(grove.folder / "out"),
            "--chdir",
            "/",
        ]
        result = grove.run("celeryops", "detach", *files, "--", *command, check=check, **environment)
        if result.returncode == 0:
            started.append(json.loads(result.stdout)["pid"])
        return result

    yield run
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_the_command_runs_in_the_background(grove: Any, detach: Any, until: Any) -> None:
    answer = json.loads(detach("sh", "-c", "pwd; echo to stderr >&2; exec sleep 30").stdout)
    assert int((grove.folder / "pid").read_text()) == answer["pid"]
    until(lambda: (grove.folder / "out").read_text() == "/\nto stderr\n", "the output is in the log")
    assert os.getsid(answer["pid"]) != os.getsid(0)
    assert os.stat(grove.folder / "out").st_mode & 0o777 == 0o640


def test_a_living_process_is_not_doubled(detach: Any) -> None:
    detach("sleep", "30")
    second = detach("sleep", "30", check=False)
    assert second.returncode == 1
    assert "alive" in second.stderr


def test_a_pid_that_now_belongs_to_another_does_not_hinder(grove: Any, detach: Any) -> None:
    (grove.folder / "pid").write_text(f"{os.getpid()}\n")
    assert json.loads(detach("sleep", "30").stdout)["pid"] != os.getpid()


@pytest.mark.parametrize("content", ["", "999999\n", "rubbish\n"])
def test_a_stale_pid_file_is_replaced(grove: Any, detach: Any, content: str) -> None:
    (grove.folder / "pid").write_text(content)
    assert json.loads(detach("sleep", "30").stdout)["pid"] > 1


def test_what_cannot_be_started_says_so(grove: Any, detach: Any) -> None:
    missing = detach("no-such-command", check=False)
    assert missing.returncode == 1
    assert "no-such-command" in missing.stderr
    broken = Path(grove.folder / "broken")
    broken.write_bytes(b"\x7fELF rubbish")
    broken.chmod(0o755)
    result = detach(str(broken), check=False)
    assert result.returncode == 1
    assert "was not started" in result.stderr
