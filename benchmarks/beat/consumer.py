"""Counts every push by entry and slot, in the order in which Redis took them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import redis


@dataclass(frozen=True)
class Push:
    at: float  # s, the monotonic clock of this process
    entry: str
    task_id: str
    tag: str  # new with every push, even one that repeats a message
    pid: int  # of the beat that sent it
    slot: float  # s, the time that the message says it is for, 0 where it says none
    epoch: int  # under which it says that it was sent


def read(message: str | bytes, at: float) -> Push:
    document = json.loads(message)
    headers = document["headers"]
    fence = headers.get("celeryops_beat")
    body = json.loads(base64.b64decode(document["body"]))
    return Push(
        at=at,
        entry=body[0][0],
        task_id=headers["id"],
        tag=document["properties"]["delivery_tag"],
        pid=int(headers["origin"].split("@")[0].removeprefix("gen")),
        slot=datetime.fromisoformat(fence["slot"]).timestamp() if fence else 0.0,
        epoch=fence["epoch"] if fence else 0,
    )


class Consumer(threading.Thread):
    """Moves each message from the queue into a list beside it, so that a lost answer loses no message.

    A push is known again by its tag: what a restarted server still holds is not counted twice.

    Parameters:
        connect: Makes a client; without a time-out, so that a frozen server is waited for.
        queue: The list in Redis, with its prefix.
    """

    def __init__(self, connect: Callable[[], redis.Redis], queue: str) -> None:
        super().__init__(name="consumer", daemon=True)
        self.pushes: list[Push] = []
        self._connect = connect
        self._queue = queue
        self._seen = f"{queue}:seen"
        self._tags: set[str] = set()
        self._ended = False

    def run(self) -> None:
        while not self._ended:
            try:
                with self._connect() as client:
                    self._sweep(client)
                    self._follow(client)
            except (redis.RedisError, OSError):
                time.sleep(0.1)

    def _sweep(self, client: redis.Redis) -> None:
        """Take what was moved, and whose answer was lost, to where it belongs between the others."""
        places = {push.tag: place for place, push in enumerate(self.pushes, 1)}
        place = 0
        late = []
        for message in reversed(client.lrange(self._seen, 0, -1)):
            push = read(message, time.monotonic())
            place = places.get(push.tag, place)
            if push.tag not in places:
                late.append((place, push))
        for place, push in reversed(late):
            self._tags.add(push.tag)
            self.pushes.insert(place, push)

    def _follow(self, client: redis.Redis) -> None:
        while not self._ended:
            message = client.blmove(self._queue, self._seen, 1, "RIGHT", "LEFT")
            if message is not None:
                self._take(message)

    def _take(self, message: str | bytes) -> None:
        push = read(message, time.monotonic())
        if push.tag not in self._tags:
            self._tags.add(push.tag)
            self.pushes.append(push)

    def end(self) -> None:
        self._ended = True
        if self.ident is None:
            return
        self.join(5)
        with self._connect() as client:
            self._sweep(client)
