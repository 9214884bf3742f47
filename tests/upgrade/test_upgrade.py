"""The collection, the system's Python and Celery move on below a fleet that works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

NAMES = ("python3.10", "python3.11", "python3.12", "python3.13")


def interpreters() -> list[Path]:
    """The Pythons of this machine that can run a fleet, one of each minor version, our own first."""
    folders = [Path(name) for name in os.environ["PATH"].split(":")]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.base_prefix)"
    found: dict[str, Path] = {}
    for candidate in [Path(sys.executable), *(folder / name for folder in folders for name in NAMES)]:
        if not candidate.exists():
            continue
        done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True)
        if done.returncode == 0:
            version, prefix = done.stdout.strip().split(" ", 1)
            found.setdefault(version, Path(prefix) / "bin" / f"python{version}")
    return list(found.values())


def test_what_moves_on_below_a_fleet(machine: Machine, subtests: pytest.Subtests) -> None:
    first, *others = interpreters()
    machine.prepare("celery[redis]==5.6.0\n")
    machine.python.symlink_to(first)
    machine.deploy("previous")
    old = machine.pids()
    assert sorted(old) == ["beat", "default-1", "flower", "redis"]
    releases = machine.releases()
    version = (machine.opt / "current").readlink().name
    tasks = machine.send()

    machine.deploy()
    new = machine.pids()

    with subtests.test("the collection: Redis and Flower run on, workers and beat have the new runtime"):
        kept = {name for name in old if new[name] == old[name]}
        assert sorted(new) == sorted(old)
        assert kept == {"redis", "flower"}

    with subtests.test("the collection: no release is built again, no step run again, no task lost"):
        assert machine.releases() == releases
        assert (machine.prefix / "steps").read_text() == "done\n"
        assert machine.results(tasks) == ["worked"] * 4

    with subtests.test("the system's Python: the release is built aside, workers and beat restart on it"):
        tasks = machine.send()
        machine.python.unlink()
        if others:
            machine.python.symlink_to(others[0])
        output = machine.deploy()
        moved = machine.pids()
        assert "no longer runs on this host" in output
        assert {name for name in new if moved[name] == new[name]} == {"redis"}
        assert set(releases) < set(machine.releases())
        assert {record["release"] for record in machine.books()["nodes"]} == {f"{version}-2"}
        assert machine.results(tasks) == ["worked"] * 4
        assert (machine.prefix / "steps").read_text() == "done\n"

    with subtests.test("Celery: another requirement is another release, and workers restart on it"):
        tasks = machine.send()
        (machine.application / "requirements.txt").write_text("celery[redis]==5.7.0\n")
        machine.deploy()
        newest = machine.pids()
        assert {name for name in moved if newest[name] == moved[name]} == {"flower", "redis"}
        assert {record["celery"] for record in machine.books()["nodes"]} == {"5.7.0"}
        assert machine.results(tasks) == ["worked"] * 4
