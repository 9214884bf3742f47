"""Hosts join and leave the groups of an inventory; nothing is left behind, and nothing runs twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Fleet

FIRST = {"redis": ["w1"], "celery_workers": ["w1", "w2"], "celery_beat": ["w1"]}
# The first host has no more workers, a third has some, and nobody wants a schedule any more.
MOVED = {"redis": ["w1"], "celery_workers": ["w2", "w3"]}


def test_hosts_join_and_leave(fleet: Fleet, subtests: pytest.Subtests) -> None:
    done = fleet.deploy(FIRST, celery_beat_host="w1")
    assert done.code == 0, done.output
    with subtests.test("the book says who is where"):
        assert fleet.book() == {"w1": ["beat", "redis", "worker"], "w2": ["worker"]}
        assert fleet.running() == {"w1": ["beat", "default-1", "redis"], "w2": ["default-1"]}

    done = fleet.deploy(MOVED)
    assert done.code == 0, done.output
    with subtests.test("what has left is gone, and only that"):
        assert fleet.running() == {"w1": ["redis"], "w2": ["default-1"], "w3": ["default-1"]}
        assert fleet.book() == {"w1": ["redis"], "w2": ["worker"], "w3": ["worker"]}
        left = [path for path in (fleet.folder / "w1").rglob("*") if "/celery/clock/" in f"{path}/"]
        assert [path for path in left if "/var/lib/" not in str(path)] == []

    with subtests.test("a host that was dropped while it works is missed"):
        done = fleet.deploy({**MOVED, "celery_workers": ["w2"]}, hosts=("w1", "w2"))
        assert done.code != 0
        assert "is also on w3 (worker), which this inventory does not name" in " ".join(done.output.split())
        assert fleet.running()["w3"] == ["default-1"]

    # Another fleet enters its host, as its deploy does.
    fleet.call("HSET", "celeryops:blog:hosts", "x1", '{"roles": ["worker"]}')
    with subtests.test("one host is torn down"):
        done = fleet.teardown(MOVED, "--limit", "w3")
        assert done.code == 0, done.output
        assert fleet.running() == {"w1": ["redis"], "w2": ["default-1"]}
        assert fleet.book() == {"w1": ["redis"], "w2": ["worker"]}

    with subtests.test("the rest is torn down, but for what another fleet needs"):
        done = fleet.teardown(MOVED, "-e", "celery_remove_data=true")
        assert done.code == 0, done.output
        assert fleet.running() == {"w1": ["redis"]}
        assert fleet.book() == {}
        files = [path for path in fleet.folder.glob("w*/**/celery/**/*") if path.is_file()]
        assert files == []
