"""The ledger: for each entry the slot that was sent last. The holder's copy of it, and how a line reads."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_NAMESPACE = uuid.UUID("6f2a1f0e-52a4-5d0b-9d3f-3f6c5f3f7f0a")


@dataclass(frozen=True)
class Line:
    """An entry's line.

    Parameters:
        slot: The slot that was sent or passed over last, aware, in UTC.
        count: How many tasks were sent for the entry so far.
        push: Id of the task that was sent last, empty before the first.
    """

    slot: datetime
    count: int = 0
    push: str = ""

    def text(self) -> str:
        """As it stands in Redis, where it is compared as it is."""
        return f"{self.slot.isoformat(timespec='microseconds')}|{self.count}|{self.push}"

    @classmethod
    def read(cls, text: str) -> Line:
        slot, count, push = text.split("|", 2)
        return cls(datetime.fromisoformat(slot), int(count), push)


def task_id(fleet: str, entry: str, slot: datetime) -> str:
    """The id of the task for this slot: whoever sends it, it is the same, so a consumer can tell it again."""
    name = f"{fleet}/{entry}/{slot.isoformat(timespec='microseconds')}"
    return str(uuid.uuid5(_NAMESPACE, name))


def read_lines(texts: Mapping[str, str]) -> dict[str, Line]:
    return {name: Line.read(text) for name, text in texts.items()}
