"""The new side's part: apply a batch once, in one step with its number."""

from __future__ import annotations

from typing import Any

import redis

from celeryops.move.place import BATCH, PAGE, MoveError, Side, raw, text
from celeryops.move.rules import escape


def arrive(side: Side, mark: str, outbox: list[bytes], resumed: bool = False) -> None:
    """Apply a batch, unless it has arrived before.

    Parameters:
        resumed: The batch was found in the outbox. A place that knows no number of it was emptied since.
    """
    seq, kind, name, ttl = int(outbox[0]), text(outbox[1]), text(outbox[2]), int(outbox[3])
    number = side.key("in", mark)
    with side.client.pipeline() as pipe:
        pipe.watch(number)
        last = int(pipe.get(number) or 0)
        if last == seq:
            return
        if last != seq - 1 and not (resumed and last == 0):
            raise MoveError(
                f"{side.label} has seen batch {last} of this move, and {seq} is next: it was set back to an "
                "older state, or another run has gone on. Nothing is lost; deploy again"
            )
        exists = bool(name) and kind != "list" and pipe.exists(name)
        pipe.multi()
        _apply(pipe, side, kind, name, ttl, outbox[4:])
        if ttl > 0 and kind in ("hash", "set", "zset") and not exists:
            pipe.pexpire(name, ttl)
        pipe.set(number, seq)
        try:
            pipe.execute()
        except redis.WatchError as exc:
            raise MoveError("another run has taken this move over; it goes on there") from exc


def _apply(pipe: Any, side: Side, kind: str, name: str, ttl: int, items: list[bytes]) -> None:
    key = raw(name)
    if kind == "list" and ttl > 0:  # somebody's short-lived answers, not a queue
        pipe.rpush(key, *items)
        pipe.pexpire(key, ttl)
    elif kind == "list":
        pipe.lpush(raw(side.key("staged")) + b":" + key, *reversed(items))
    elif kind == "hash":
        for field_name, value in zip(items[::2], items[1::2], strict=True):
            pipe.hsetnx(key, field_name, value)
    elif kind == "set":
        pipe.sadd(key, *items)
    elif kind == "zset":
        pipe.zadd(key, dict(zip(items[::2], map(float, items[1::2]), strict=True)), nx=True)
    elif kind == "string":
        for own, value, left in zip(items[::3], items[1::3], items[2::3], strict=True):
            pipe.set(own, value, nx=True, px=int(left) if int(left) > 0 else None)
    else:
        restore(Side(pipe, side.prefix, side.fleet, side.label), name, max(ttl, 0), items[0])


def restore(side: Side, name: str, ttl: int, packed: bytes) -> None:
    try:
        side.client.restore(raw(name), ttl, packed)
    except redis.ResponseError as exc:
        raise MoveError(
            f"{side.label} does not take {name}: {exc}. It is no list, hash, set, sorted set or string, so "
            "the new server must read the old one's own format: run there a version as new as the old"
        ) from exc


def unstage(side: Side) -> None:
    """Put the messages that have come at the front of their queues, in their order."""
    prefix = raw(side.key("staged")) + b":"
    for staged in side.client.scan_iter(match=escape(text(prefix)) + "*", count=PAGE):
        while side.client.exists(staged):
            pipe = side.client.pipeline(transaction=False)
            for _ in range(BATCH):
                pipe.lmove(staged, staged[len(prefix) :], "LEFT", "RIGHT")
            pipe.execute()
