"""The module against a fleet's command that answers from files, and keeps what it is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .test_celery_nodes import run

# In place of `bin/run python -m celeryops ...`: the lease is where beat shall send from, at once.
COMMAND = """#!{python}
import json, pathlib, sys
state = pathlib.Path({state!r})
report = json.loads(state.read_text())
words = sys.argv[4:]
with open({calls!r}, "a") as calls:
    calls.write(" ".join(words) + "\\n")
if report.get("broken"):
    sys.exit("Error 111 connecting to redis1:6379")
options = dict(zip(words[2:], words[3:]))
if words[0] == "status":
    print(json.dumps({{"fleet": "shop", "nodes": [], "beats": report["beats"]}}))
elif words[1] == "show":
    print(json.dumps(report))
elif words[1] == "place":
    before = report["place"]
    host = options.get("--host")
    report["place"] = {{"mode": options["--mode"], "host": host}} if host else None
    if host and report["lease"]["host"] != host:
        report["epoch"] += 1
        report["lease"] = {{"host": host, "epoch": report["epoch"]}}
        for one in report["candidates"]:
            one["state"] = "holder" if one["host"] == host else "standby"
    print(json.dumps({{"changed": before != report["place"]}}))
elif words[1] == "forget":
    kept = [one for one in report["candidates"] if one["host"] != options["--host"]]
    print(json.dumps({{"changed": kept != report["candidates"]}}))
    report["candidates"] = kept
state.write_text(json.dumps(report))
"""


class Fleet:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        self.state, self.calls = root / "state", root / "calls"
        command = COMMAND.format(python=sys.executable, state=str(self.state), calls=str(self.calls))
        (root / "bin/run").write_text(command)
        (root / "bin/run").chmod(0o755)
        candidates = [self.candidate("w1", "holder"), self.candidate("w2")]
        lease = {"host": "w1", "epoch": 3}
        self.is_now(epoch=3, lease=lease, place=None, persistent=True, candidates=candidates, beats=[])

    @staticmethod
    def candidate(host: str, state: str = "standby") -> dict[str, Any]:
        return {"host": host, "state": state, "pid": 7, "fit": True, "tick_age": 0.1, "clock_offset": 0.0}

    def is_now(self, **more: Any) -> None:
        before = json.loads(self.state.read_text()) if self.state.exists() else {}
        self.state.write_text(json.dumps({**before, **more}))

    def beat(self, **params: Any) -> dict[str, Any]:
        given = {"fleet": "shop", "candidates": ["w1", "w2"], "timeout": 1.0, **params}
        return run("celery_beat", opt_dir=str(self.root), **given)

    def told(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if "place" in line or "forget" in line]


def test_beat_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    result = fleet.beat()
    assert not result["changed"] and result["problems"] == []
    assert (result["holder"], result["epoch"], result["tick_age"]) == ("w1", 3, 0.1)
    assert fleet.told() == []


def test_it_is_moved_and_the_move_confirmed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    result = fleet.beat(pinned="w2")
    assert result["changed"] and (result["holder"], result["epoch"]) == ("w2", 4)
    assert result["diff"]["before"] == "shall send: anywhere\nsends: w1\n"
    assert result["diff"]["after"] == "shall send: pinned on w2\nsends: w2\n"
    assert not fleet.beat(pinned="w2")["changed"]
    assert len(fleet.told()) == 1


def test_check_mode_says_who_would_send(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    result = fleet.beat(preferred="w2", _ansible_check_mode=True)
    assert result["changed"] and result["diff"]["after"] == "shall send: preferred on w2\nsends: w2\n"
    assert fleet.told() == []


def test_what_cannot_be_is_refused_before_anything_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for params, says in (
        ({"candidates": []}, "No host is a candidate for beat"),
        ({"pinned": "attic"}, '"attic" is no candidate'),
        ({"pinned": "w1", "preferred": "w2"}, "exclude each other"),
    ):
        result = fleet.beat(**params)
        assert result["failed"] and says in result["msg"]
    assert not fleet.calls.exists()


def test_what_does_not_come_right_in_time_is_named(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    result = fleet.beat(candidates=["w1", "w2", "w3"])
    assert result["failed"] and "The beat of w3 says nothing of itself" in result["msg"]
    assert result["holder"] == "w1"
    assert not fleet.beat(candidates=["w1", "w2", "w3"], unseen=["w3"]).get("failed")


def test_a_redis_that_has_lost_writes_is_noticed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    command = (tmp_path / "bin/run").read_text()
    (tmp_path / "bin/run").write_text(command.replace('report["epoch"] += 1', 'report["epoch"] -= 1'))
    result = fleet.beat(pinned="w2")
    assert result["failed"] and "has lost writes" in result["msg"]


def test_hosts_that_have_left_are_forgotten(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.is_now(place={"mode": "preferred", "host": "w2"})
    params = {"state": "absent", "hosts": ["w2"], "candidates": []}
    assert fleet.beat(**params, _ansible_check_mode=True)["changed"] and not fleet.told()
    result = fleet.beat(**params)
    assert result["changed"] and result["place"] is None
    assert [one["host"] for one in result["candidates"]] == ["w1"]
    assert not fleet.beat(**params)["changed"]


def test_reading_finds_beats_that_know_no_lease(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.is_now(beats=[{"host": "w1", "node": "beat@w1", "pid": 8}])
    result = fleet.beat(state="read")
    assert result["without_lease"] == [{"host": "w1", "node": "beat@w1", "pid": 8}]
    assert "knows no lease" in result["problems"][0] and not result.get("failed")


def test_without_a_release_there_is_nothing_to_look_after(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    (tmp_path / "bin/run").unlink()
    assert "Deploy first" in fleet.beat()["msg"]
    assert fleet.beat(state="read")["holder"] == ""
    assert not fleet.beat(state="absent", hosts=["w1"])["changed"]
    assert fleet.beat(pinned="w2", _ansible_check_mode=True)["changed"]


def test_without_redis(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.is_now(broken=True)
    for state in ("present", "read"):
        result = fleet.beat(state=state)
        assert result["failed"] and "Error 111 connecting to redis1:6379" in result["msg"]
    assert not fleet.beat(state="absent", hosts=["w1"]).get("failed")
    assert not fleet.beat(_ansible_check_mode=True).get("failed")
