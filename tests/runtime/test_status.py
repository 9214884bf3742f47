from __future__ import annotations

import json
import re
from typing import Any

from celeryops.canary import explain_silence
from celeryops.status import render

NODE = {
    "kind": "worker",
    "node": "default-1@worker1",
    "host": "worker1",
    "pid": 77,
    "pool": "default",
    "queues": ["a", "b"],
    "processes": 2,
    "autoscale": {"min": 1, "max": 8},
    "active": 1,
    "reserved": 0,
    "rss_bytes": 200 * 2**20,
    "release": "1.0",
    "status": "ready",
    "age": 2.2,
    "loop_age": 0.4,
}
BEAT = {**NODE, "kind": "beat", "node": "beat@worker1", "scheduler": "celery.beat:PersistentScheduler"}


def test_the_table() -> None:
    lines = render({"fleet": "shop", "now": 0, "nodes": [NODE], "beats": [BEAT]}).splitlines()
    assert re.sub(" +", " ", lines[0]).startswith(
        "NODE HOST PID POOL STATUS QUEUES PROCESSES ACTIVE RESERVED"
    )
    assert (
        re.sub(" +", " ", lines[1]) == "default-1 worker1 77 default ready a,b 2 (1-8) 1 0 200 MB 1.0 2 s 0 s"
    )
    assert "PersistentScheduler" in lines[4]
    assert lines[-1] == "Fleet shop: 1 node, 2 processes, 1 active task, 1 beat."


def test_an_empty_fleet_says_what_to_try() -> None:
    text = render({"fleet": "shop", "now": 0, "nodes": [], "beats": []})
    assert "no living node" in text
    assert "deploy" in text


def test_a_beat_alone() -> None:
    assert "no living worker" in render({"fleet": "shop", "now": 0, "nodes": [], "beats": [BEAT]})


def test_silence_is_explained() -> None:
    assert "no living node consumes" in explain_silence("c", [NODE], 5)
    assert "read their logs" in explain_silence("a", [NODE], 5)
    assert "is busy" in explain_silence("a", [{**NODE, "active": 2}], 5)


def test_without_the_application_and_without_a_broker(grove: Any) -> None:
    assert json.loads(grove.run("celeryops", "status", "--json").stdout)["nodes"] == []
    result = grove.run("celeryops", "status", check=False, CELERY_BROKER_URL="")
    assert result.returncode == 1
    assert "CELERY_BROKER_URL is not set" in result.stderr
