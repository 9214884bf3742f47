"""What listens, told from the tables of the kernel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process


def test_finds_this_very_process() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        found = redis_process.who_listens(port)
        assert found is not None and found.pid == os.getpid()
        assert port in redis_process.ports_of(os.getpid())
        assert redis_process.bind_problem("127.0.0.1", port) == "in use"
        assert redis_process.bind_problem("0.0.0.0", port) == "in use"
    assert redis_process.who_listens(port) is None


def test_a_process_that_is_no_server_is_not_taken_for_one() -> None:
    assert not redis_process.is_server(os.getpid())
    assert not redis_process.is_server(2**22 + 1)


def test_pid_files(tmp_path: Path) -> None:
    path = tmp_path / "redis.pid"
    assert redis_process.read_pid(str(path)) is None
    path.write_text("")
    assert redis_process.read_pid(str(path)) is None
    path.write_text("12\n")
    assert redis_process.read_pid(str(path)) == 12


def test_tail_starts_behind_what_was_there(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    log.write_text("old\n")
    start = log.stat().st_size
    log.write_text("old\nnew  \n")
    assert redis_process.tail(str(log), start) == "new"
    log.write_text("x\n")  # rotated meanwhile: shorter than where we began
    assert redis_process.tail(str(log), start) == "x"
    assert redis_process.tail(str(tmp_path / "none")) == ""


def test_run_tells_what_is_missing_or_slow() -> None:
    assert redis_process.run(["/nonexistent"])[0] == 127
    assert redis_process.run(["sleep", "5"], timeout=0.1)[0] == 124


def test_a_long_command_line_keeps_the_program_s_name() -> None:
    assert redis_process.shortened("/usr/bin/redis-server *:6379") == "/usr/bin/redis-server *:6379"
    assert redis_process.shortened("/deep" * 30 + "/valkey-server *:6379") == "valkey-server *:6379"
    assert redis_process.shortened("python " + "x" * 100) == "python " + "x" * 73
    assert redis_process.shortened("") == ""


def test_a_server_in_a_deep_folder_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "a-folder-of-a-long-name" / "and-another-one-below-it" / "and-one-more-to-be-sure"
    folder.mkdir(parents=True)
    program = folder / "valkey-server"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            # Popen returns when exec has closed its pipe, an instant before the kernel shows its arguments.
            deadline = time.monotonic() + 10
            while not Path("/proc/%d/cmdline" % process.pid).read_bytes() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert redis_process.is_server(process.pid)
        finally:
            process.kill()
