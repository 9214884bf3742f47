"""One run at a time: the second waits, says for whom, and in the end refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import lock

_HOLD = """
import sys, time
sys.path[:0] = {path!r}
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import lock
with lock.held({folder!r}, "another", 0):
    print("held", flush=True)
    time.sleep({seconds})
"""


def other(folder: Path, seconds: float) -> subprocess.Popen[str]:
    code = _HOLD.format(path=sys.path, folder=str(folder), seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_without_another_there_is_nothing_to_say(tmp_path: Path) -> None:
    for _ in range(2):
        with lock.held(str(tmp_path), "this", 0) as warning:
            assert warning == ""
            assert f"process {os.getpid()} (this) since" in (tmp_path / lock.NAME).read_text()


def test_another_is_waited_for_and_named(tmp_path: Path) -> None:
    with other(tmp_path, 1.5) as process, lock.held(str(tmp_path), "this", 30) as warning:
        assert process.wait(60) == 0
        assert f"process {process.pid} (another)" in warning


def test_one_that_does_not_end_is_refused(tmp_path: Path) -> None:
    with other(tmp_path, 60) as process:
        began = time.monotonic()
        named = rf"process {process.pid} \(another\) since .*waited 0 s"
        with pytest.raises(lock.LockedError, match=named), lock.held(str(tmp_path), "this", 0.3):
            pass
        assert time.monotonic() - began < 40
        process.kill()
    with lock.held(str(tmp_path), "this", 0.3) as warning:
        assert warning == ""


def test_what_a_run_starts_does_not_hold_it(tmp_path: Path) -> None:
    with lock.held(str(tmp_path), "this", 0):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with lock.held(str(tmp_path), "this", 0.3) as warning:
            assert warning == ""
    finally:
        child.kill()
        child.wait()


def test_no_run_directory_no_lock(tmp_path: Path) -> None:
    with lock.held(str(tmp_path / "run"), "this", 0) as warning:
        assert warning == ""
    assert os.listdir(tmp_path) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / lock.NAME).symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"), lock.held(str(tmp_path), "this", 0):
        pass
    assert precious.read_text() == "kept"
