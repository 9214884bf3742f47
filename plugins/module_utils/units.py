# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sizes and durations as people write them: 400MB, 1.5GiB, 90s, 1h30m.

A number without a unit is refused: Celery counts memory in KiB, systemd in bytes, time limits are seconds,
and a figure that means the wrong one of them is only noticed in production.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

SIZES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
DURATIONS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}

_NUMBER = r"(\d+(?:\.\d+)?)"
_SIZE = re.compile(_NUMBER + r"\s*([A-Za-z]+)\Z")
_DURATION_PART = re.compile(_NUMBER + r"\s*([a-z]+)\s*")
_BARE = re.compile(r"-?\d+(\.\d+)?\Z")


class UnitError(ValueError):
    """A size or duration that cannot be read; the text gives the reason and the remedy."""


def parse_bytes(value: Any) -> int:
    """Read a size. Returns whole bytes; 0 needs no unit."""
    text = _text(value, "size", "400MB or 1.5GiB", "400 bytes, kilobytes or megabytes")
    if text == "0":
        return 0
    match = _SIZE.match(text)
    if match is None:
        raise UnitError("is no size. Write a number and a unit, such as 400MB or 1.5GiB")
    number, unit = match.groups()
    if unit not in SIZES:
        if unit.upper() in ("K", "M", "G", "T"):
            letter = unit.upper()
            raise UnitError(
                f"leaves open whether {unit} counts in thousands or in 1024s. "
                f"Write {number}{letter}B (thousands) or {number}{letter}iB (1024s)"
            )
        raise UnitError(f"has the unknown unit {unit!r}. Use one of {', '.join(SIZES)}")
    return int(Fraction(number) * SIZES[unit])


def parse_seconds(value: Any) -> float:
    """Read a duration. Returns seconds, as an int where they are whole; 0 needs no unit."""
    text = _text(value, "duration", "30s, 30m or 1h30m", "seconds or minutes")
    if text == "0":
        return 0
    total = Fraction(0)
    seen: list[Fraction] = []
    position = 0
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None:
            raise UnitError("is no duration. Write numbers with units, such as 30s, 30m or 1h30m")
        number, unit = match.groups()
        if unit not in DURATIONS:
            raise UnitError(f"has the unknown unit {unit!r}. Use one of {', '.join(DURATIONS)}")
        scale = DURATIONS[unit]
        if seen and scale >= seen[-1]:
            raise UnitError("has its units out of order. Write the largest first, each once, such as 1h30m")
        seen.append(scale)
        total += Fraction(number) * scale
        position = match.end()
    return int(total) if total.denominator == 1 else float(total)


def _text(value: Any, kind: str, examples: str, candidates: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnitError(f"is no {kind}. Write a number and a unit, such as {examples}")
    text = str(value).strip()
    if not text:
        raise UnitError(f"is empty. Write a number and a unit, such as {examples}")
    if text.startswith("-"):
        raise UnitError(f"is below zero, which no {kind} can be. Write something such as {examples}")
    if _BARE.match(text) and float(text) != 0:
        raise UnitError(f"has no unit, so it could mean {candidates}. Write the unit too, such as {examples}")
    return "0" if _BARE.match(text) else text
