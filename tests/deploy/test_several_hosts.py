"""Several hosts and fleets, beat on each host, secrets of a vault, and runs that see a part of it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from .hosts import CHANGED, LEAKS, POOL, ROOT, SECRETS, Hosts, Watch, shown_in

ALL = ("w1", "w2")
PASSING: dict[str, Any] = {"name": "ml", "queues": ["ml"], "concurrency": 1, "hosts": ["w2"]}
# A changed secret is in what differs.
EVERY_WORD = ("-vvv", "--diff")


class Orchard:
    """The fleet of these tests, and what its Redis says of beat."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._redis = redis.Redis(
            port=hosts.port, password=SECRETS["vault_redis_password"], decode_responses=True
        )

    def inventory(self, database: int = 0, **variables: Any) -> Path:
        pools = [{**POOL, "max_tasks_per_child": 500}]
        common = {"celery_worker_pools": pools, "celery_beat_catch_up": "all", "celery_beat_lease": "5s"}
        return self._hosts.inventory("orchard", database, ALL, **{**common, **variables})

    def lease(self) -> tuple[int, str]:
        """Epoch and host of who has it."""
        epoch, _, host, *_ = (self._redis.get("celeryops:orchard:beat:lease") or "0|||").split("|")
        return int(epoch), host

    def candidates(self) -> list[str]:
        return sorted(self._redis.zrange("celeryops:orchard:beat:candidates", 0, -1))

    def place(self) -> Any:
        return self._redis.get("celeryops:orchard:beat:place")

    def sent(self) -> list[datetime]:
        """The times for which beat has sent a task, the first one first."""
        headers = [
            json.loads(text)["headers"]["celeryops_beat"] for text in self._redis.lrange("tally", 0, -1)
        ]
        return [datetime.fromisoformat(one["slot"]) for one in reversed(headers)]


def but_for(what: str, running: dict[str, set[int]]) -> dict[str, set[int]]:
    """What of it is no `what`."""
    return {name: pids for name, pids in running.items() if not name.startswith(what)}


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, size and time of change of every file of the configuration."""
    stats = {str(path): path.lstat() for path in (folder / "etc").rglob("*")}
    return {path: (stat.st_mode, stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.kill()


def test_one_fleet_of_two_hosts(hosts: Hosts, subtests: pytest.Subtests) -> None:
    orchard = Orchard(hosts)
    watch = Watch()
    with watch:
        first = hosts.play(orchard.inventory(celery_worker_pools=[POOL, PASSING]), *EVERY_WORD)
    assert first.code == 0, first.output[-5000:]
    said = first.output
    everything = hosts.running()
    assert everything.keys() == {"default-1@w1", "default-1@w2", "ml-1@w2", "beat@w1", "beat@w2", "redis"}
    _, sender = orchard.lease()
    standby = next(host for host in ALL if host != sender)

    with subtests.test("each host runs beat, one of them sends, and the report says which"):
        assert orchard.lease()[0] == 1
        assert f"beat     on {sender}, pid" in first.output
        assert f"standby  {standby}" in first.output

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

    changed = orchard.inventory()
    hosts.lock(vault_picker_key=CHANGED["vault_picker_key"])
    half = ["--limit", "w2", "--tags", "workers,proof"]

    with subtests.test("check mode predicts what one host of two will be, and touches nothing"):
        before = tree(hosts.folder / "w2")
        predicted = hosts.play(changed, *half, "--check", *EVERY_WORD)
        assert predicted.code == 0, predicted.output[-5000:]
        said += predicted.output
        assert predicted.recap["w2"]["changed"] > 0
        assert "-max-tasks-per-child=500" in predicted.output
        assert hosts.running() == everything
        assert before and tree(hosts.folder / "w2") == before

    with subtests.test(
        "that host is finished, a pool that left the list leaves it; nothing that is hidden is missed"
    ):
        with watch:
            finished = hosts.play(changed, *half, *EVERY_WORD)
        assert finished.code == 0, finished.output[-5000:]
        said += finished.output
        assert finished.recap.keys() == {"w2"}
        assert "hidden   w1" in finished.output
        now = hosts.running()
        assert now["default-1@w2"].isdisjoint(everything["default-1@w2"])
        assert now == {**but_for("ml", everything), "default-1@w2": now["default-1@w2"]}
        assert not [path for name in ("ml-1.env", "ml-1.pid") for path in hosts.folder.rglob(name)]

    with subtests.test("half a fleet does not move to another Redis"):
        before_it = hosts.running()
        refused = hosts.play(orchard.inventory(7), "--tags", "workers")
        assert refused.code != 0
        assert "what is left out would go on at the old place" in " ".join(refused.output.split())
        assert hosts.running() == before_it

    kept = {"celery_beat_log_level": "DEBUG"}

    with subtests.test("new settings of beat: all of them restart, the one that sends last"):
        before_it = hosts.running()
        hosts.lock(**CHANGED)
        with watch:
            done = hosts.play(orchard.inventory(**kept), "--tags", "beat", *EVERY_WORD)
        assert done.code == 0, done.output[-5000:]
        said += done.output
        now = hosts.running()
        assert all(now[f"beat@{host}"].isdisjoint(before_it[f"beat@{host}"]) for host in ALL)
        assert but_for("beat", now) == but_for("beat", before_it)
        assert orchard.lease() == (2, standby)

    with subtests.test("beat moves when it is told, and nothing restarts"):
        before_it = hosts.running()
        moved = hosts.play(orchard.inventory(**kept), "-e", f"to={sender}", playbook="playbooks/beat.yml")
        assert moved.code == 0, moved.output
        assert f"{sender} sends" in moved.output and f"preferred on {sender}" in moved.output
        assert orchard.lease()[1] == sender
        assert hosts.running() == before_it

    with subtests.test("a host that leaves the group has no beat, and is nobody's candidate"):
        before_it = hosts.running()
        done = hosts.play(orchard.inventory(beats=[standby], **kept))
        assert done.code == 0, done.output
        now = hosts.running()
        assert now.keys() == but_for(f"beat@{sender}", before_it).keys()
        # Workers have new settings by now.
        assert all(now[name] == before_it[name] for name in (f"beat@{standby}", "redis"))
        assert orchard.lease()[1] == standby
        assert orchard.candidates() == [standby]
        assert orchard.place() is None

    with subtests.test("no time was sent twice, and none was left out"):
        sent = orchard.sent()
        assert sent == [sent[0] + timedelta(seconds=number) for number in range(len(sent))]

    with subtests.test("the secrets arrived where they belong"):
        for host in ALL:
            etc = hosts.folder / host / "etc/celery/orchard"
            assert b"second" in (etc / "environment").read_bytes()
            assert b"picker&key#second" in (etc / "nodes/default-1.env").read_bytes()

    with subtests.test("no secret in the words of the deploy, however many are asked for"):
        assert [line for line in said.encode().splitlines() if shown_in(line)] == []

    with subtests.test("no secret on any command line, however short"):
        assert watch.seen == set()

    with subtests.test("no secret in logs"):
        logs = [hosts.folder / host / name for host in ALL for name in ("var/log", "opt/celery/orchard/logs")]
        assert [place for place, text in LEAKS.files(logs, whoever_reads=True) if shown_in(text)] == []
        assert all(any((hosts.folder / host / "var/log").rglob("*.log")) for host in ALL)

    with subtests.test("no secret in files that others may read"):
        assert [place for place, text in LEAKS.files([hosts.folder]) if shown_in(text)] == []

    with subtests.test("nor left behind on the way"):
        ways = [ROOT / ".cache/ansible/tmp", Path.home() / ".ansible/tmp", *Path("/tmp").glob("ansible*")]
        assert [place for place, text in LEAKS.files(ways) if shown_in(text)] == []
