# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the broker that a Celery URL names, without Celery: for what must work before any release is built."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Mapping, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import Redis, RedisError

PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
TIMEOUT = 5.0  # seconds for a connection and for each answer


class BrokerError(Exception):
    """The broker cannot be used; the text holds no password."""


class Target(NamedTuple):
    """What one URL says."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    user: str = ""
    password: str = ""
    query: Mapping[str, str] = {}

    @property
    def shown(self) -> str:
        """The server without its secrets."""
        return f"{self.path or f'{self.host}:{self.port}'}, database {self.db}"


def parse(url: str) -> list[Target]:
    """The servers of a URL; Celery separates several by a semicolon."""
    return [_target(one) for one in url.split(";") if one]


def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        on_socket = parts.scheme == "redis+socket"
        db = query.get("virtual_host", "0") if on_socket else parts.path.strip("/") or "0"
        return Target(
            parts.scheme,
            "" if on_socket else unquote(parts.hostname or "127.0.0.1"),
            0 if on_socket else parts.port or PORTS.get(parts.scheme, 6379),
            unquote(parts.path) if on_socket else "",
            int(db.strip("/") or 0),
            unquote(parts.username or ""),
            unquote(parts.password or query.get("password", "")),
            query,
        )
    except ValueError:
        # Not its text: that repeats parts of the URL.
        raise BrokerError("the broker's URL is none: scheme://:password@host:port/database") from None


def open_broker(url: str, master_name: str = "", sentinel_password: str = "") -> Redis:
    """A connection to the broker, logged in, in its database."""
    trouble = []
    for target in parse(url):
        try:
            if target.scheme == "sentinel":
                target = _master(target, master_name, sentinel_password)
            return _open(target)
        except RedisError as error:
            trouble.append(f"{target.shown}: {_without_words_of_ours(error)}")
        except OSError as error:
            trouble.append(f"{target.shown}: {error.strerror or error}")
    raise BrokerError("; ".join(trouble) or "the broker's URL is empty")


def _open(target: Target) -> Redis:
    redis = Redis(target.host, target.port, TIMEOUT, connection=_connect(target))
    try:
        if target.password:
            redis.call("AUTH", *[word for word in (target.user, target.password) if word])
        redis.call("SELECT", target.db)
        # Loading, or without rights: better known now than half way.
        redis.call("PING")
    except (RedisError, OSError):
        redis.close()
        raise
    return redis


def _connect(target: Target) -> socket.socket:
    if target.path:
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(TIMEOUT)
        try:
            unix.connect(target.path)
        except OSError:
            unix.close()
            raise
        return unix
    plain = socket.create_connection((target.host, target.port), TIMEOUT)
    if target.scheme != "rediss":
        return plain
    try:
        return _tls(target.query).wrap_socket(plain, server_hostname=target.host)
    except OSError:
        plain.close()
        raise


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    """As redis-py reads the same words of a URL."""
    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"), capath=query.get("ssl_ca_path"))
    if query.get("ssl_certfile"):
        context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    wanted = query.get("ssl_cert_reqs", "required").lower().replace("cert_", "")
    context.check_hostname = (
        wanted == "required" and query.get("ssl_check_hostname", "true").lower() != "false"
    )
    if wanted == "none":
        context.verify_mode = ssl.CERT_NONE
    return context


def _master(sentinel: Target, name: str, password: str) -> Target:
    """Ask a Sentinel for the master. The password of the URL is the master's."""
    with Redis(sentinel.host, sentinel.port, TIMEOUT) as redis:
        if password:
            redis.call("AUTH", password)
        answer = redis.call("SENTINEL", "get-master-addr-by-name", name)
    if not answer:
        raise ConnectionError(f"this Sentinel knows no master called {name!r}")
    return sentinel._replace(scheme="redis", host=answer[0], port=int(answer[1]))


def _without_words_of_ours(error: RedisError) -> str:
    """The server's answer; some repeat the arguments they were given."""
    return re.sub(r", with args beginning with:.*", "", str(error))
