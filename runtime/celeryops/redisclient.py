"""A Redis client of the runtime's own, to the place where the application's broker is."""

from __future__ import annotations

from typing import Any

import redis

from celeryops.log import mask

CONNECT_TIMEOUT = 2.0  # s
COMMAND_TIMEOUT = 5.0  # s


class NotRedisError(Exception):
    """The broker is not Redis, so the fleet has nowhere to keep its books."""


def connect(app: Any, timeout: float = COMMAND_TIMEOUT) -> tuple[redis.Redis, str]:
    """A client and the key prefix that the application's broker connection uses.

    It is made by kombu's own transport, so every URL and transport option that the application may use works:
    plain, TLS, socket and Sentinel. Only the time-outs are the runtime's own.

    Raises:
        NotRedisError: The broker is something else.
        redis.RedisError, OSError, kombu.exceptions.OperationalError: Redis cannot be reached.
    """
    options = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, CONNECT_TIMEOUT),
        "max_retries": 1,
    }
    connection = app.connection_for_write(transport_options=options)
    if connection.transport.driver_type != "redis":
        raise NotRedisError(
            f"the broker {mask(connection.as_uri())} is not Redis; the fleet keeps its books in Redis only"
        )
    channel = connection.channel()
    client: redis.Redis = redis.Redis(connection_pool=channel.pool)
    # The pool belongs to the channel, and kombu drops what nobody holds.
    client.celeryops_connection = (connection, channel)  # type: ignore[attr-defined]
    return client, channel.global_keyprefix or ""


def close(client: Any) -> None:
    """Give back the connections of a client made by `connect`."""
    connection, _ = client.celeryops_connection
    client.connection_pool.disconnect()
    connection.release()
