"""The fence: a connection of kombu whose channels push a task only together with its line in the ledger.

Everything else goes through it unchanged: the events that Celery sends beside a task, and the declarations of
queues. The fence is in the channel because that is the last place before Redis, whatever the application's
task classes, routers and serializers do on the way.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from kombu.utils.json import dumps

from celeryops.beat import scripts
from celeryops.beat.keys import Keys
from celeryops.beat.ledger import Line

PUSHED, REPEATED, LOST, MOVED = 1, 2, -1, -2


class FencedOutError(Exception):
    """The step was refused: the lease is somebody else's, or another beat has sent this slot."""


@dataclass
class Attempt:
    """One task that is to be sent.

    Parameters:
        token: Of the lease.
        entry: Name of the entry.
        before: Its line as it must be in the ledger.
        after: Its line as it shall be.
    """

    token: str
    entry: str
    before: Line
    after: Line
    result: int = 0  # what the fence said last, 0 when nothing came to it
    targets: int = 0  # lists and channels that got the message
    pushes: list[tuple[str, str, str]] = field(default_factory=list)  # command, key, payload
    expires: list[tuple[str, int]] = field(default_factory=list)  # list, ms


class Fence:
    """What stands between the channels of a connection and Redis.

    Parameters:
        fleet: Name of the fleet.
        event_exchange: Exchange of Celery's events, which are no tasks.
    """

    def __init__(self, fleet: str, event_exchange: str) -> None:
        self._fleet = fleet
        self._event_exchange = event_exchange
        self.attempt: Attempt | None = None

    def guards(self, exchange: str) -> bool:
        attempt = self.attempt
        return (
            attempt is not None
            and exchange != self._event_exchange
            and attempt.result not in (PUSHED, REPEATED)
        )

    def push(self, script: Any, prefix: str) -> None:
        """Send what was collected for the attempt, in the one step.

        Parameters:
            script: scripts.PUSH, as a client has registered it.
            prefix: The application's ``global_keyprefix``.

        Raises:
            FencedOutError: It was refused.
        """
        attempt = self.attempt
        assert attempt is not None
        keys = Keys(prefix, self._fleet)
        payload = attempt.pushes[0][2] if attempt.pushes else ""
        attempt.targets = len(attempt.pushes)
        attempt.result = int(
            script(
                [keys.lease, keys.ledger, *(prefix + key for _, key, _ in attempt.pushes)],
                [
                    attempt.token,
                    attempt.entry,
                    attempt.before.text(),
                    attempt.after.text(),
                    payload,
                    *(command for command, _, _ in attempt.pushes),
                    *(part for key, ms in attempt.expires for part in (prefix + key, ms)),
                ],
            )
        )
        if attempt.result < 0:
            why = (
                "the lease is not ours any more"
                if attempt.result == LOST
                else "another beat has sent this slot"
            )
            raise FencedOutError(f"{attempt.entry} was not sent: {why}")


class FencedChannel:
    """Mixed into the channel class of one of kombu's Redis transports."""

    _script: Any = None

    if TYPE_CHECKING:
        pool: Any
        connection: Any
        global_keyprefix: str
        priority_steps: list[int]
        _get_message_priority: Any
        _get_publish_topic: Any
        _q_for_pri: Any

    def basic_publish(self, message: Any, exchange: str, routing_key: str, **kwargs: Any) -> Any:
        fence = self._fence()
        if not fence.guards(exchange):
            return super().basic_publish(message, exchange, routing_key, **kwargs)  # type: ignore[misc]
        attempt = fence.attempt
        assert attempt is not None
        attempt.pushes, attempt.expires = [], []
        result = super().basic_publish(message, exchange, routing_key, **kwargs)  # type: ignore[misc]
        fence.push(self._push_script(), self.global_keyprefix or "")
        return result

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        attempt = self._collecting(message)
        if attempt is None:
            super()._put(queue, message, **kwargs)  # type: ignore[misc]
            return
        priority = self._get_message_priority(message, reverse=False)
        attempt.pushes.append(("lpush", self._q_for_pri(queue, priority), dumps(message)))
        lasts = getattr(self, "_expires", {}).get(queue)
        if lasts:
            steps = self.priority_steps
            attempt.expires += [(self._q_for_pri(queue, step), int(lasts)) for step in steps]

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        attempt = self._collecting(message)
        if attempt is None:
            super()._put_fanout(exchange, message, routing_key, **kwargs)  # type: ignore[misc]
            return
        topics = getattr(self, "_get_publish_topics", None)  # since kombu 5.7
        if topics is not None:
            found = topics(exchange, routing_key)
        else:
            found = [self._get_publish_topic(exchange, routing_key)]
        attempt.pushes += [("publish", topic, dumps(message)) for topic in found]

    def _collecting(self, message: Any) -> Attempt | None:
        fence = self._fence()
        exchange = message["properties"]["delivery_info"]["exchange"]
        return fence.attempt if fence.guards(exchange) else None

    def _fence(self) -> Fence:
        fence: Fence = self.connection.client.celeryops_fence
        return fence

    def _push_script(self) -> Any:
        # kombu's own client puts the prefix before some keys of some commands; scripts are given theirs
        # whole. To make a client is a tenth of a publish, so it is kept while kombu keeps its pool.
        if self._script is None or self._script.registered_client.connection_pool is not self.pool:
            self._script = redis.Redis(connection_pool=self.pool).register_script(scripts.PUSH)
        return self._script


@functools.cache
def _fenced_transport(transport: Any) -> type:
    channel = type("Fenced" + transport.Channel.__name__, (FencedChannel, transport.Channel), {})
    return type("Fenced" + transport.__name__, (transport,), {"Channel": channel})


class FencedConnection:
    """Mixed into the application's connection class.

    kombu makes its transport anew when it goes on to the next of several URLs: that one must be fenced too,
    so it is the method that is overridden, not the attribute that is set.
    """

    def get_transport_cls(self) -> type:
        return _fenced_transport(super().get_transport_cls())  # type: ignore[misc]


@functools.cache
def _fenced_connection(connection: Any) -> type:
    return type("Fenced" + connection.__name__, (FencedConnection, connection), {})


def fenced(connection: Any, fence: Fence) -> Any:
    """The same connection, not yet connected, behind `fence`."""
    kind: Any = type(connection)
    connection.__class__ = _fenced_connection(kind)
    connection.celeryops_fence = fence
    return connection
