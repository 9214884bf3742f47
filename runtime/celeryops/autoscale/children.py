"""What the children of a pool have taken of the memory, and what they will still take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

#: Share of the estimate that is forgotten with each look, so that one large task does not count for ever.
DECAY = 0.002


class Claims(NamedTuple):
    """Bytes: what one more child will need, and what those there are will still need."""

    estimate: int
    committed: int


def private_bytes(pid: int, proc: str = "/proc") -> int | None:
    """Memory that goes when this process goes; None when it is gone."""
    try:
        with open(f"{proc}/{pid}/smaps_rollup", encoding="ascii") as stream:
            return sum(int(line.split()[1]) * 1024 for line in stream if line.startswith("Private_"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, IndexError):
        return None
    try:
        # Without smaps: what is resident and not shared with a file.
        with open(f"{proc}/{pid}/statm", encoding="ascii") as stream:
            words = stream.read().split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def estimated(before: float, sizes: Iterable[int]) -> float:
    """Bytes that a child comes to, as the largest so far show; slowly forgotten.

    Parameters:
        before: The estimate so far.
        sizes: Private bytes of the children there are.
    """
    return max([before * (1 - DECAY), *map(float, sizes)])


def claims(estimate: float, floor: int, sizes: Mapping[int, int]) -> Claims:
    """Charge each child in full, however young it is.

    Parameters:
        estimate: Bytes that a child comes to, as measured.
        floor: Bytes that it is expected to need at least.
        sizes: Private bytes by pid.
    """
    each = max(floor, int(estimate))
    return Claims(each, sum(max(0, each - size) for size in sizes.values()))
