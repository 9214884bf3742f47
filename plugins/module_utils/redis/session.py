# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the one running server that is meant, and wait for it."""

from __future__ import annotations

import socket
import time
from typing import Callable, Iterable, NamedTuple, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import client as redis_client
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf

ANSWER = 5.0  # seconds a server may take to answer; a slow command of somebody else holds up all others


class Session(NamedTuple):
    """An open connection to a server and what it said of itself."""

    redis: redis_client.Redis
    info: dict[str, str]

    @property
    def pid(self) -> int:
        return int(self.info["process_id"])

    @property
    def name(self) -> str:
        return "Valkey" if "valkey_version" in self.info else "Redis"

    @property
    def version(self) -> tuple[int, ...]:
        text = self.info.get("valkey_version") or self.info["redis_version"]
        return redisconf.version_of(f"_version:{text}")

    @property
    def loading(self) -> bool:
        return self.info.get("loading") == "1"

    @property
    def started(self) -> int:
        """When the process started, in whole seconds of the server's clock."""
        return int(self.info["server_time_usec"]) // 1000000 - int(self.info["uptime_in_seconds"])


def log_in(host: str, port: int, passwords: Sequence[str]) -> Session | None:
    """A session with the first of the passwords that is let in (none at all is tried first), else None.

    Raises OSError when nothing that speaks Redis answers there.
    """
    redis = redis_client.Redis(host, port, ANSWER)
    try:
        for password in ["", *(word for word in dict.fromkeys(passwords) if word)]:
            try:
                if password:
                    redis.call("AUTH", password)
                return Session(redis, redis.info())
            except redis_client.RedisError:
                continue
    except OSError:
        redis.close()
        raise
    redis.close()
    return None


class Found(NamedTuple):
    """What answered at the endpoints."""

    session: Session | None
    silent: bool
    """Something took the connection and then said nothing."""


def find(
    endpoints: Iterable[tuple[str, int]], passwords: Sequence[str], ours: Callable[[Session], bool]
) -> Found:
    """Look for our server, at whichever of the endpoints it answers."""
    silent = False
    for host, port in dict.fromkeys(endpoints):
        try:
            session = log_in(host, port, passwords)
        except socket.timeout:  # an alias of TimeoutError only since Python 3.10
            silent = True
            continue
        except OSError:
            continue
        if session is not None and ours(session):
            return Found(session, silent)
        if session is not None:
            session.redis.close()
    return Found(None, silent)


def wait(
    attempt: Callable[[], Session | None], failed: Callable[[float], bool], seconds: float
) -> Session | None:
    """Wait until a server answers and has read its data; None when it failed or took too long."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        session = attempt()
        if session is not None and not session.loading:
            return session
        if session is not None:
            session.redis.close()
        elif failed(start):
            return None
        time.sleep(0.05)
    return None


def wait_for_rewrite(redis: redis_client.Redis, seconds: float) -> bool:
    """Wait until an append-only file just switched on holds all data; a start would lose the rest."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        info = redis.info()
        busy = info.get("aof_rewrite_in_progress") == "1" or info.get("aof_rewrite_scheduled") == "1"
        if not busy and info.get("aof_last_bgrewrite_status") == "ok":
            return True
        time.sleep(0.1)
    return False
