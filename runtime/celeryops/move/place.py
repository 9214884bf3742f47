"""One of the two places of a move, and the note by which the old one knows where it moves to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

BATCH = 200  # messages, fields or members at a time
PAGE = 1000  # keys of one SCAN
OWN_NAME = "celeryops-move"  # of our own connections


class MoveError(Exception):
    """The move cannot go on; the text says why and what to do."""


@dataclass
class Side:
    """One of the two places.

    Parameters:
        client: Redis client that adds no prefix by itself and answers in bytes.
        prefix: The broker's ``global_keyprefix``.
        fleet: The fleet's name there.
        label: The place in words, without a password; also how the mover's notes name it.
    """

    client: Any
    prefix: str
    fleet: str
    label: str

    def key(self, *parts: str) -> str:
        return self.prefix + ":".join(("celeryops", self.fleet, "move", *parts)).rstrip(":")


def note(old: Side, goes_to: str, afresh: bool = False) -> str:
    """Mark the old place as one that moves there; returns the mark, which is kept as long as the goal is."""
    mark, goal = (text(one or b"") for one in old.client.hmget(old.key(), "mark", "to"))
    if mark and goal == goes_to and not afresh:
        return mark
    mark = uuid.uuid4().hex
    pipe = old.client.pipeline()
    pipe.delete(old.key())
    pipe.hset(old.key(), mapping={"mark": mark, "from": old.label, "to": goes_to, "seq": 0})
    pipe.execute()
    return mark


def text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def raw(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
