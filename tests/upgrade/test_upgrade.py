"""The collection, as its tarball brings it, the OS Python and Celery move on below a fleet that works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.pythons import interpreters

if TYPE_CHECKING:
    from .conftest import Machine


def test_what_moves_on_below_a_fleet(machine: Machine, subtests: pytest.Subtests) -> None:
    first, *others = interpreters()
    machine.prepare("celery[redis]==5.6.0\n")
    machine.python.symlink_to(first)
    machine.deploy("previous")
    old = machine.pids()
    assert sorted(old) == ["beat", "default-1", "flower", "redis"]
    releases = machine.releases()
    tasks = machine.send()

    output = machine.deploy()
    new = machine.pids()

    with subtests.test("the installed collection: the report says what runs"):
        assert "default-1@localhost" in output

    with subtests.test("the collection: Redis and Flower run on, workers and beat have the new runtime"):
        kept = {name for name in old if new[name] == old[name]}
        assert sorted(new) == sorted(old)
        assert kept == {"redis", "flower"}

    with subtests.test("the collection: no release is built again, no step run again, no task lost"):
        assert machine.releases() == releases
        assert (machine.folder / "steps").read_text() == "done\n"
        assert machine.results(tasks) == ["worked"] * 4

    with subtests.test("Python and Celery: releases are built aside, all restart on them, no task is lost"):
        tasks = machine.send()
        machine.python.unlink()
        if others:
            machine.python.symlink_to(others[0])
        (machine.application / "requirements.txt").write_text("celery[redis]==5.7.0\n")
        output = machine.deploy("present", "--tags", "app,workers,beat,flower")
        moved = machine.pids()
        assert {name for name in new if moved[name] == new[name]} == {"redis"}
        # Flower's requirement is the same, its Python has gone.
        assert "no longer runs on this host" in output
        (flower,) = (name for name in machine.releases() if name.endswith("-2"))
        assert set(releases) < set(machine.releases()) and flower.removesuffix("-2") in releases
        assert {record["celery"] for record in machine.books()["nodes"]} == {"5.7.0"}
        assert machine.results(tasks) == ["worked"] * 4

    with subtests.test("the installed collection: status"):
        assert "default-1@localhost" in machine.play("status")

    with subtests.test("the installed collection: teardown leaves nothing"):
        machine.play("teardown", "-e", '{"celery_remove_data": true}')
        assert machine.pids() == {}
        assert list(machine.prefix.iterdir()) == []  # the folder itself is the operator's
