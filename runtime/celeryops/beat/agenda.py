"""What is due next: the entries of the inner scheduler in the order of their times."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any


class Agenda:
    """A heap of names by the time at which to look at them again.

    A name may stand in the heap more than once; what counts is the time that was set last.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}

    def rebuild(self, names: list[str], when: Callable[[str], float]) -> None:
        """Forget all, and enter `names` at the times that `when` says."""
        self._times = {name: when(name) for name in names}
        self._heap = [(at, name) for name, at in self._times.items()]
        heapq.heapify(self._heap)

    def enter(self, name: str, at: float) -> None:
        self._times[name] = at
        heapq.heappush(self._heap, (at, name))

    def next(self) -> tuple[float, str] | None:
        """The next time and name, None when there is none."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> str:
        _, name = heapq.heappop(self._heap)
        del self._times[name]
        return name


def seconds(value: Any, otherwise: float) -> float:
    """How long a schedule wants to be left alone; `otherwise` where it gives no number."""
    return float(value) if isinstance(value, (int, float)) and not math.isnan(value) else otherwise
