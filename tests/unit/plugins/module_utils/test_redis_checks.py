"""What is refused, told by sentences that name the value, the place and the remedy."""

from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks

INFO = {"cluster_enabled": "0", "tcp_port": "6379", "used_memory": "1000000"}


@pytest.mark.parametrize(
    "policy", ["noeviction", "volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu"]
)
def test_policies_that_spare_the_queues(policy: str) -> None:
    assert redis_checks.value_problems({"maxmemory-policy": [[policy]]}, ["127.0.0.1"], 6379, False) == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile", "lru"])
def test_policies_that_drop_tasks(policy: str) -> None:
    (said,) = redis_checks.value_problems({"maxmemory-policy": [[policy]]}, ["127.0.0.1"], 6379, False)
    assert f"redis_maxmemory_policy is {policy}" in said and "noeviction" in said


def test_a_password_allows_other_addresses() -> None:
    assert redis_checks.value_problems({}, ["10.0.0.5"], 6379, True) == []
    (said,) = redis_checks.value_problems({}, ["127.0.0.1", "10.0.0.5"], 6379, False)
    assert "127.0.0.1 10.0.0.5 without a password" in said


def test_a_cluster() -> None:
    (said,) = redis_checks.running_problems(dict(INFO, cluster_enabled="1"), {}, {}, False)
    assert "Cluster" in said and "6379" in said


def test_a_cache_of_somebody_else() -> None:
    info = dict(INFO, db0="keys=12,expires=3,avg_ttl=0")
    running = {"maxmemory-policy": "allkeys-lru"}
    (said,) = redis_checks.running_problems(info, running, {}, adopting=True)
    assert "allkeys-lru" in said and "12 keys" in said
    assert redis_checks.running_problems(info, running, {}, adopting=False) == []
    assert redis_checks.running_problems(INFO, running, {}, adopting=True) == []


def test_memory_and_databases_in_use() -> None:
    info = dict(INFO, db11="keys=1,expires=0", used_memory="3000000")
    wanted = {"maxmemory": [["2000000"]], "databases": [["8"]]}
    memory, databases = redis_checks.running_problems(info, {}, wanted, False)
    assert "redis_maxmemory is 2 MB" in memory and "3 MB" in memory
    assert "database 11 " in databases and "at least 12" in databases
    assert redis_checks.running_problems(info, {}, {"maxmemory": [["0"]], "databases": [["12"]]}, False) == []


@pytest.mark.parametrize(
    "version, good", [((6, 2), True), ((7, 0, 15), True), ((10, 1), True), ((6, 0, 16), False), ((), False)]
)
def test_versions(version: tuple[int, ...], good: bool) -> None:
    said = redis_checks.version_problem("Redis", version, "/bin/redis-server", "Upgrade it.")
    assert (said is None) is good
    if said:
        assert "/bin/redis-server" in said and "6.2" in said and said.endswith("Upgrade it.")


@pytest.mark.parametrize(
    "name, version, running, multipart, good",
    [
        ("Redis", (7, 0, 15), ("", ()), False, True),
        ("Redis", (7, 0, 15), ("", ()), True, True),
        ("Redis", (7, 0, 16), ("Redis", (7, 0, 15)), True, True),
        ("Redis", (7, 0, 14), ("Redis", (7, 0, 15)), True, True),
        ("Valkey", (9, 1, 2), ("Redis", (7, 0, 15)), True, True),
        ("Redis", (6, 2, 14), ("Redis", (7, 0, 15)), False, False),
        ("Redis", (6, 2, 14), ("", ()), True, False),
        ("Redis", (9, 9), ("Valkey", (9, 1)), False, False),
    ],
)
def test_a_server_gets_no_data_it_cannot_read(
    name: str, version: tuple[int, ...], running: tuple[str, tuple[int, ...]], multipart: bool, good: bool
) -> None:
    assert (redis_checks.downgrade_problem(name, version, running, multipart) is None) is good


def test_reserved_directives_name_their_variable() -> None:
    (said,) = redis_checks.extra_problems({"MaxClients": 5, "loglevel": "verbose"})
    assert "redis_maxclients" in said
