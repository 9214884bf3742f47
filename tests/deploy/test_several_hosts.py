"""Several hosts, several fleets, and runs that see a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .hosts import Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.kill()


def test_a_part_of_the_hosts_a_part_of_the_run_and_a_second_fleet(
    hosts: Hosts, subtests: pytest.Subtests
) -> None:
    orchard = hosts.inventory("orchard", 0, ["w1", "w2"])

    first = hosts.play(orchard)
    assert first.code == 0, first.output
    everything = hosts.running()
    assert everything.keys() == {"default-1@w1", "default-1@w2", "beat@w1", "beat@w2", "redis"}

    with subtests.test("a second fleet on the same host and Redis touches nothing of the first"):
        meadow = hosts.inventory("meadow", 1, ["w1"])
        second = hosts.play(meadow)
        assert second.code == 0, second.output
        assert hosts.running("meadow").keys() == {"default-1@w1", "beat@w1", "redis"}
        assert hosts.running("orchard") == everything
        assert "default-1@w2" not in second.output
        gone = hosts.play(meadow, "-e", "celery_remove_data=true", playbook="playbooks/teardown.yml")
        assert gone.code == 0, gone.output
        assert hosts.running() == everything
        left = [path for path in hosts.folder.rglob("*meadow*") if path.name != "meadow.json"]
        assert left == []

    with subtests.test("one host of two is finished; nothing that is hidden is missed"):
        verbose = hosts.inventory("orchard", 0, ["w1", "w2"], celery_worker_log_level="DEBUG")
        finished = hosts.play(verbose, "--limit", "w2", "--tags", "workers,proof")
        assert finished.code == 0, finished.output
        assert finished.recap.keys() == {"w2"}
        assert "hidden   w1" in finished.output
        last = hosts.running()
        assert last["default-1@w2"].isdisjoint(everything["default-1@w2"])
        assert last == {**everything, "default-1@w2": last["default-1@w2"]}

    with subtests.test("half a fleet does not move to another Redis"):
        elsewhere = hosts.inventory("orchard", 7, ["w1", "w2"])
        refused = hosts.play(elsewhere, "--tags", "workers")
        assert refused.code != 0
        assert "what is left out would go on at the old place" in " ".join(refused.output.split())
        assert hosts.running() == last
