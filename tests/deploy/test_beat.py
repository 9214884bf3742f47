"""Beat on three hosts, from the first deploy until one of them leaves: one sends, and no time is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from .hosts import Hosts

ALL = ("w1", "w2", "w3")
# Nobody consumes the queue: what lies there in the end is what beat has sent.
SCHEDULE = """
app.conf.beat_schedule = {
    "tally": {
        "task": "harvest.add",
        "schedule": 1.0,
        "args": (1, 2),
        "options": {"queue": "tally", "expires": 3600},
    },
}
"""


class Fleet:
    """A fleet with a worker on w1 and a beat on each host, and what its Redis says of it."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        with (hosts.folder / "app/harvest.py").open("a") as application:
            application.write(SCHEDULE)
        self.redis = redis.Redis(port=hosts.port, password="common", decode_responses=True)

    def play(self, *options: str, playbook: str = "deploy.yml", **variables: Any) -> tuple[int, str]:
        given = {"beats": ALL, "celery_beat_catch_up": "all", "celery_beat_lease": "5s", **variables}
        inventory = self.hosts.inventory("orchard", 0, ALL, **given)
        done = self.hosts.play(inventory, *options, playbook=playbook)
        return done.code, done.output

    def deploy(self, **variables: Any) -> str:
        code, output = self.play(**variables)
        assert code == 0, output
        return output

    def lease(self) -> tuple[int, str]:
        """Epoch and host of who has it."""
        epoch, _, host, *_ = (self.redis.get("celeryops:orchard:beat:lease") or "0|||").split("|")
        return int(epoch), host

    def beats(self) -> dict[str, int]:
        found = self.hosts.running("orchard")
        return {name.partition("@")[2]: min(pids) for name, pids in found.items() if name.startswith("beat@")}

    def sent(self) -> list[datetime]:
        """The times for which beat has sent a task, the first one first."""
        headers = [
            json.loads(text)["headers"]["celeryops_beat"] for text in self.redis.lrange("tally", 0, -1)
        ]
        return [datetime.fromisoformat(one["slot"]) for one in reversed(headers)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    hosts = Hosts(tmp_path)
    try:
        yield Fleet(hosts)
    finally:
        hosts.kill()


def test_beat_on_three_hosts(fleet: Fleet, subtests: pytest.Subtests) -> None:
    output = fleet.deploy()
    epoch, first = fleet.lease()
    beats = fleet.beats()

    with subtests.test("each host runs beat, one of them sends, and the report says which"):
        assert beats.keys() == set(ALL)
        assert epoch == 1
        assert f"beat     on {first}, pid" in output
        assert f"standby  {', '.join(sorted(set(ALL) - {first}))}" in output

    with subtests.test("new settings: all of them restart, the one that sends last"):
        fleet.deploy(celery_beat_log_level="DEBUG")
        after = fleet.beats()
        assert after.keys() == beats.keys() and not set(after.values()) & set(beats.values())
        assert fleet.lease()[1] != first
        assert fleet.lease()[0] == 2
        beats = after

    kept = {"celery_beat_log_level": "DEBUG"}
    move = {"playbook": "playbooks/beat.yml", **kept}

    with subtests.test("it moves when it is told, and nothing restarts"):
        code, output = fleet.play("-e", "to=w2", **move)
        assert code == 0, output
        assert fleet.lease()[1] == "w2"
        assert "w2 sends" in output and "preferred on w2" in output
        code, output = fleet.play("-e", "to=w2", **move)
        assert code == 0 and "changed=1" not in output, output
        assert fleet.beats() == beats

    with subtests.test("where it cannot be it does not go"):
        code, output = fleet.play("-e", "to=attic", **move)
        assert code != 0 and '"attic" is no candidate' in output
        assert fleet.lease()[1] == "w2"

    with subtests.test("it leaves a host that hangs and cannot be reached"):
        os.kill(beats["w2"], signal.SIGSTOP)
        fleet.hosts.cut.write_text("setup")
        code, output = fleet.play("-e", "to=w3", "-e", "mode=pinned", **move)
        fleet.hosts.cut.unlink()
        os.kill(beats["w2"], signal.SIGCONT)
        assert "w3 sends" in output and "unreachable=1" in output, output
        assert fleet.lease()[1] == "w3"

    with subtests.test("a host that leaves the group has no beat, and is nobody's candidate"):
        fleet.deploy(beats=("w1", "w2"), **kept)
        assert fleet.beats().keys() == {"w1", "w2"}
        assert fleet.lease()[1] in ("w1", "w2")
        # By the time when each was seen last.
        assert sorted(fleet.redis.zrange("celeryops:orchard:beat:candidates", 0, -1)) == ["w1", "w2"]
        assert fleet.redis.get("celeryops:orchard:beat:place") is None

    with subtests.test("no time was sent twice, and none was left out"):
        sent = fleet.sent()
        assert sent == [sent[0] + timedelta(seconds=number) for number in range(len(sent))]
