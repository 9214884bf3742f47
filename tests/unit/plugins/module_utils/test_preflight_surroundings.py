# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import surroundings
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import Interpreter, Space


def look_at(path: Path | str) -> Space:
    return surroundings.look_at(Space(str(path), "releases", "celery_opt_dir"))


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    found = look_at(tmp_path / "opt" / "celery" / "shop")
    assert (found.base, found.refused, found.is_folder) == (str(tmp_path), "", True)
    assert found.free and found.device == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "opt").write_text("")
    assert not look_at(tmp_path / "opt" / "celery").is_folder


def test_a_broken_link_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "opt").symlink_to(tmp_path / "gone")
    found = look_at(tmp_path / "opt" / "celery")
    assert (found.base, found.is_folder) == (str(tmp_path / "opt"), False)


def test_a_folder_that_takes_nothing() -> None:
    assert look_at("/proc/celery").refused


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_someone_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in look_at(tmp_path / "opt").refused


def test_a_filesystem_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(surroundings.os, "open", refuse)
    assert surroundings.why_not_writable(str(tmp_path)) == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_tells_its_version(tmp_path: Path) -> None:
    found = surroundings.ask_python(Interpreter(sys.executable, "3.9", "celery_app_python"))
    assert found.version == sys.version.split()[0]
    assert surroundings.ask_python(Interpreter(str(tmp_path / "none"), "3.9", "x")).version == ""
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho no shared library >&2; exit 127\n")
    broken.chmod(0o755)
    asked = surroundings.ask_python(Interpreter(str(broken), "3.9", "x"))
    assert (asked.version, asked.said) == ("", "no shared library")


@pytest.mark.parametrize(
    "address, own", [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", True), ("192.0.2.1", False)]
)
def test_addresses_of_this_host(address: str, own: bool) -> None:
    assert surroundings.is_own_address(address) is own


def test_host_names_are_resolved_and_addresses_kept() -> None:
    assert surroundings.resolve("127.0.0.1") == "127.0.0.1"
    assert surroundings.resolve("no-such-host.invalid") == "no-such-host.invalid"


def test_processes_of_containers_have_several_pids() -> None:
    assert surroundings.is_nested(["Name:\tcelery\n", "NSpid:\t4711\t17\n"])
    assert not surroundings.is_nested(["Name:\tcelery\n", "NSpid:\t4711\n"])


def test_this_process_is_seen_and_pidfiles_are_read(tmp_path: Path) -> None:
    assert os.getpid() in surroundings.processes_here()
    pidfile = tmp_path / "flower.pid"
    pidfile.write_text("17\n")
    assert surroundings.pids_of(["", str(pidfile), str(tmp_path / "none.pid")]) == {str(pidfile): 17}
