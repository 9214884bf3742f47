"""Broker URLs as Celery writes them, and what a server is asked before it is stopped."""

from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import tenants
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.broker import (
    BrokerError,
    Target,
    open_broker,
    parse,
)


@pytest.mark.parametrize(
    "url, target",
    [
        ("redis://", Target("redis", "127.0.0.1", 6379)),
        ("redis://redis1", Target("redis", "redis1", 6379)),
        ("redis://:p%40ss@redis1:6380/3", Target("redis", "redis1", 6380, "", 3, "", "p@ss")),
        ("rediss://me:pw@redis1/", Target("rediss", "redis1", 6379, "", 0, "me", "pw")),
        ("redis://[::1]:7000/1", Target("redis", "::1", 7000, "", 1)),
        ("sentinel://:pw@s1", Target("sentinel", "s1", 26379, "", 0, "", "pw")),
    ],
)
def test_urls(url: str, target: Target) -> None:
    [found] = parse(url)
    assert found._replace(query={}) == target


def test_a_unix_socket() -> None:
    [found] = parse("redis+socket:///run/redis/redis.sock?virtual_host=2&password=pw")
    assert (found.path, found.db, found.password) == ("/run/redis/redis.sock", 2, "pw")
    assert found.shown == "/run/redis/redis.sock, database 2"


def test_several_servers() -> None:
    assert [one.host for one in parse("sentinel://s1:26379/0;sentinel://s2:26379/0")] == ["s1", "s2"]


@pytest.mark.parametrize("url", ["redis://:secret@redis1:port/0", "redis://:secret@redis1/zero"])
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BrokerError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_no_url() -> None:
    with pytest.raises(BrokerError, match="is empty"):
        open_broker("")


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(BrokerError) as caught:
        open_broker("redis://:secret@127.0.0.1:1/4")
    assert "127.0.0.1:1, database 4: Connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_fleets_by_their_keys() -> None:
    keys = [
        "celeryops:shop:hosts",
        "a-prefix:celeryops:blog:node:default-1@w1",
        "celeryops:old:once",
        "celeryops:gone:nodes",
        "celery-task-meta-celeryops",
    ]
    assert tenants.fleets_of(keys) == {"shop", "blog"}


@pytest.mark.parametrize(
    "key, own",
    [
        ("celeryops:shop:once", True),
        ("p:celeryops:shop:hosts", True),
        ("celeryops:old-name:move:lease", True),
        ("celeryops:blog:once", False),
        ("celeryops:shopping:once", False),
        ("celery", False),
    ],
)
def test_what_a_fleet_keeps_about_itself(key: str, own: bool) -> None:
    assert tenants.is_record_of(key, "shop") is own


def test_databases_in_use() -> None:
    assert tenants.databases({"db2": "keys=1", "db0": "keys=3", "db_version": "1", "used": "2"}) == [0, 2]


def test_text_in_a_pattern() -> None:
    assert tenants.glob_escaped("a*[b]?") == r"a\*\[b\]\?"
