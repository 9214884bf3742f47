"""Redis on loopback, alone or as master and replica with a Sentinel, to be frozen, cut and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.support.redis import free_port, program
from tests.support.waiting import until

MASTER = "bench"  # the name by which Sentinel knows the master
REPLICATION = "replication"  # the user that the replica logs in with; without it, it is cut off
DATA = ["appendonly yes", "appendfsync everysec", 'save ""', "repl-diskless-sync-delay 0"]


def binary() -> str:
    """The system's Redis where it has one: a virtualenv on PATH may hide it behind an older one."""
    return shutil.which("redis-server", path="/usr/local/bin:/usr/bin") or program()


class Server:
    """One process of redis-server; the directives are lines of its file."""

    def __init__(self, folder: Path, *directives: str, sentinel: bool = False) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments = ["--sentinel"] if sentinel else []
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", *directives]
        (folder / "redis.conf").write_text("\n".join(lines) + "\n")

    def start(self, *options: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary(), str(self._folder / "redis.conf"), *self._arguments, *options],
                stdout=log,
                stderr=log,
            )
        until(self.answers, f"the server on port {self.port} answers")

    def client(self, socket_timeout: float | None = None) -> redis.Redis:
        """By default it waits as long as it takes: a server may be frozen."""
        return redis.Redis(port=self.port, socket_timeout=socket_timeout)

    def answers(self) -> bool:
        try:
            with self.client(socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


class Single:
    """One server that keeps its data in an append-only file."""

    def __init__(self, folder: Path, *directives: str) -> None:
        self.server = Server(folder / "redis", *DATA, *directives)
        self.url = f"redis://127.0.0.1:{self.server.port}/0"
        self.transport: dict[str, str] = {}

    def start(self) -> None:
        self.server.start()

    def client(self) -> redis.Redis:
        return self.server.client()

    def stop(self) -> None:
        self.server.stop()


class Pair:
    """A master and a replica, and a Sentinel that promotes the one when the other is gone."""

    def __init__(self, folder: Path, *directives: str) -> None:
        login = [f"user {REPLICATION} on >secret +psync +replconf +ping", f"masteruser {REPLICATION}"]
        data = [*DATA, *login, "masterauth secret", "repl-timeout 60", *directives]
        self._servers = [Server(folder / name, *data) for name in ("redis-one", "redis-two")]
        self._sentinel = Server(
            folder / "sentinel",
            f"sentinel monitor {MASTER} 127.0.0.1 {self._servers[0].port} 1",
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 5000",
            sentinel=True,
        )
        self.url = f"sentinel://127.0.0.1:{self._sentinel.port}"
        self.transport = {"master_name": MASTER}

    def start(self) -> None:
        one, two = self._servers
        one.start()
        two.start("--replicaof", "127.0.0.1", str(one.port))
        self._in_sync()
        self._sentinel.start()
        until(lambda: self._seen("num-slaves") == 1, "Sentinel knows the replica")

    def _seen(self, name: str) -> Any:
        with self._sentinel.client() as client:
            state: dict[str, Any] = client.sentinel_master(MASTER)
            return state[name]

    def _in_sync(self) -> None:
        master, replica = self.roles()

        def same() -> bool:
            with replica.client() as client:
                state = client.info("replication")
            return state["role"] == "slave" and state.get("master_link_status") == "up"

        until(same, f"the replica on port {replica.port} follows {master.port}")

    def roles(self) -> tuple[Server, Server]:
        """Master and replica, by Sentinel's word once it runs."""
        one, two = self._servers
        if self._sentinel.answers() and self._seen("port") == two.port:
            return two, one
        return one, two

    def client(self) -> redis.Redis:
        return self.roles()[0].client()

    def cut(self) -> None:
        """Drop the replica's link, which the master sees, and let it not come back."""
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", REPLICATION, "off")
            client.client_kill_filter(_type="replica")

    def stall(self) -> Callable[[], None]:
        """Let nothing reach the replica any more, which the master does not see; answers with what ends that.

        It stands still, and what the system has kept for it meanwhile is lost with its process.
        """
        master, replica = self.roles()
        replica.signal(signal.SIGSTOP)

        def end() -> None:
            replica.kill()
            replica.start("--replicaof", "127.0.0.1", str(master.port))

        return end

    def fail_over(self, after: Callable[[], None] | None = None) -> None:
        """Kill the master, and bring it back as the replica of the one that Sentinel promotes."""
        master, replica = self.roles()
        master.kill()
        if after is not None:
            after()
        until(lambda: self._seen("port") == replica.port, "Sentinel has promoted the replica")
        master.start("--replicaof", "127.0.0.1", str(replica.port))
        self._in_sync()
        until(
            lambda: self._seen("flags") == "master" and self._seen("num-slaves") == 1,
            "Sentinel knows the replica",
        )

    def stop(self) -> None:
        for server in (self._sentinel, *self._servers):
            server.stop()
