from __future__ import annotations

import json
from typing import Any

import pytest
from celeryops import broker

GOOD: dict[str, Any] = {
    "server": "redis",
    "version": "7.0.15",
    "compatible_version": "7.0.15",
    "role": "master",
    "cluster_enabled": False,
    "eviction_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 0,
    "evicted_keys": 0,
    "aof_enabled": True,
    "aof_ok": True,
    "rdb_enabled": False,
    "rdb_ok": True,
}


@pytest.mark.parametrize(
    "facts, severity, word",
    [
        ({}, None, ""),
        ({"version": "6.2.0", "compatible_version": "6.2.0"}, None, ""),
        ({"version": "9.1.2", "server": "valkey", "compatible_version": "7.2.4"}, None, ""),
        ({"eviction_policy": "volatile-lru"}, None, ""),
        ({"eviction_policy": ""}, None, ""),
        ({"maxmemory": 100, "used_memory": 84}, None, ""),
        ({"version": "6.0.16", "compatible_version": "6.0.16"}, "error", "6.2 or later"),
        ({"version": "", "compatible_version": ""}, "error", "6.2 or later"),
        ({"cluster_enabled": True}, "error", "Cluster"),
        ({"eviction_policy": "allkeys-lru"}, "error", "noeviction"),
        ({"eviction_policy": "allkeys-random"}, "error", "noeviction"),
        ({"role": "slave"}, "error", "master"),
        ({"aof_enabled": False}, "warning", "nothing is persisted"),
        ({"aof_enabled": False, "rdb_enabled": True}, "warning", "appendonly"),
        ({"aof_enabled": False, "rdb_enabled": None}, "warning", "appendonly"),
        ({"aof_ok": False}, "warning", "disk"),
        ({"rdb_ok": False}, "warning", "disk"),
        ({"maxmemory": 100, "used_memory": 86}, "warning", "86% full"),
        ({"evicted_keys": 3}, "warning", "evicted 3"),
    ],
)
def test_judgement(facts: dict[str, Any], severity: str | None, word: str) -> None:
    problems = broker.judge({**GOOD, **facts})
    if severity is None:
        assert problems == []
    else:
        assert [problem["severity"] for problem in problems] == [severity]
        assert word in problems[0]["message"]


def test_errors_come_first() -> None:
    problems = broker.judge({**GOOD, "evicted_keys": 1, "cluster_enabled": True})
    assert [problem["severity"] for problem in problems] == ["error", "warning"]


def test_the_real_server(grove: Any) -> None:
    report = json.loads(grove.run("celeryops", "broker", "--json").stdout)
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["role"] == "master"


def test_a_wrong_policy_of_the_real_server(own_grove: Any) -> None:
    own_grove.books().client.config_set("maxmemory-policy", "allkeys-lru")
    result = own_grove.run("celeryops", "broker", check=False)
    assert result.returncode == 1
    assert "allkeys-lru" in result.stdout


def test_an_absent_server(own_grove: Any) -> None:
    own_grove.server.stop()
    result = own_grove.run("celeryops", "broker", "--json", check=False)
    assert result.returncode == 1
    assert "Is it running" in result.stderr
    assert "Traceback" not in result.stderr


def test_over_a_socket(grove: Any) -> None:
    report = grove.run(
        "celeryops", "broker", "--json", CELERY_BROKER_URL=f"redis+socket://{grove.server.socket}"
    )
    assert json.loads(report.stdout)["ok"] is True
