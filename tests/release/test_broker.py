"""A broker that no role looks after is judged before a release of its application is activated."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis import RedisServer

PREFIX = sys.prefix  # has celery[redis], as the tests themselves need it


@pytest.fixture
def evicting(tmp_path: Path) -> Iterator[str]:
    """A Redis that drops queued tasks when it is full."""
    policy = ("--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path / "redis", *policy, password="hush-hush") as server:
        yield server.url


def test_a_broker_that_would_lose_tasks_is_refused(host: Any, evicting: str) -> None:
    source = {"type": "existing", "prefix": PREFIX, "chdir": str(host.app)}
    nobody = "redis://127.0.0.1:1/0"
    refused, unreachable = host.play(
        {"source": source, "environment": {"CELERY_BROKER_URL": evicting}, "state": "active"},
        {"source": source, "environment": {"CELERY_BROKER_URL": nobody}, "state": "active"},
    )
    assert refused["failed"]
    assert "allkeys-lru" in refused["msg"]
    assert "noeviction" in refused["msg"]
    assert "celery_broker_url" in refused["msg"]
    assert "hush-hush" not in refused["msg"]
    assert unreachable["failed"]
    assert "127.0.0.1:1" in unreachable["msg"]
    assert not os.path.lexists(host.opt / "current")
