"""Real servers, each with a folder and a free port of its own; the modules run as on a host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.collection import run_module
from tests.support.redis import PROGRAMS, free_port, program
from tests.support.waiting import alive, until


@dataclass
class Server:
    """A private server as the module keeps it; `options` are the module's arguments."""

    prefix: Path
    binary: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.prefix / "etc/redis/redis.conf"

    @property
    def data(self) -> Path:
        return self.prefix / "var/lib/redis"

    @property
    def pid_file(self) -> Path:
        return self.prefix / "run/redis/redis.pid"

    def run(self, check: bool = False, diff: bool = False, **changes: Any) -> dict[str, Any]:
        """Run the module; what is given stays for later runs, None takes an option out."""
        self.options.update(changes)
        arguments = {
            "config": str(self.config),
            "data_dir": str(self.data),
            "run_dir": str(self.prefix / "run/redis"),
            "log_dir": str(self.prefix / "var/log/redis"),
            "home": str(self.prefix / "opt/redis"),
            "binary": self.binary,
            "start_timeout": 30,
            "stop_timeout": 30,
        }
        arguments.update({name: value for name, value in self.options.items() if value is not None})
        return run_module("redis_server", arguments, check=check, diff=diff)

    def changed(self, **changes: Any) -> dict[str, Any]:
        """A run that must succeed and change something."""
        result = self.run(**changes)
        assert not result.get("failed"), result["msg"]
        assert result["changed"]
        return result

    def unchanged(self) -> dict[str, Any]:
        """A run that must find everything as it should be."""
        result = self.run(diff=True)
        assert not result.get("failed"), result["msg"]
        assert not result["changed"], result["diff"]
        return result

    def refused(self, **changes: Any) -> str:
        """A run that must be refused and leave the host as it is, in check mode and for real."""
        kept = dict(self.options)
        before = self.picture()
        said = []
        for check in (True, False):
            result = self.run(check=check, **changes)
            assert result.get("failed"), result
            said.append(result["msg"])
        self.options = kept
        assert said[0] == said[1]
        assert self.picture() == before
        return str(said[0])

    def picture(self) -> dict[str, Any]:
        """What the module keeps on the host, but for the data and the log."""
        files = {str(path): path.read_bytes() for path in self.prefix.rglob("*") if path.is_file()}
        return {path: text for path, text in files.items() if "/var/" not in path}

    def call(self, *command: Any, port: int | None = None, password: str | None = None) -> Any:
        """One command, with the client of the collection; returns the answer, or the text of an error."""
        from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import Redis, RedisError

        with Redis("127.0.0.1", port or self.options["port"]) as redis:
            secret = self.options.get("password") if password is None else password
            try:
                if secret:
                    redis.call("AUTH", secret)
                return redis.call(*command)
            except RedisError as exc:
                return str(exc)

    def answers(self) -> bool:
        """Whether it takes commands by now."""
        try:
            return bool(self.call("PING") == "PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), "the killed server is gone")

    def stop(self) -> None:
        if self.pid_file.exists() and alive(pid := int(self.pid_file.read_text())):
            os.kill(pid, signal.SIGTERM)
            until(lambda: not alive(pid), "the server of the test is gone")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make descriptions of private servers; what they started is stopped at the end."""
    made: list[Server] = []

    def build(binary: str, name: str = "one") -> Server:
        server = Server(tmp_path / name, binary)
        server.options = {
            "port": free_port(),
            "password": "first-password",
            "maxmemory": "100MB",
            "directives": {"appendonly": True, "maxmemory-policy": "noeviction", "databases": 16},
        }
        made.append(server)
        return server

    yield build
    for server in made:
        server.stop()


@pytest.fixture(params=PROGRAMS)
def each(request: pytest.FixtureRequest, make: Callable[..., Server]) -> Server:
    """A private server with each of the binaries there are."""
    binary = PROGRAMS[request.param]
    if not binary:
        pytest.skip(f"no server: {request.param}")
    return make(binary)


@pytest.fixture
def one(make: Callable[..., Server]) -> Server:
    """A private server with the first of the binaries there are."""
    return make(program())
