"""Limits and guards as plain data: in a node's file, in a remote command, in a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from celeryops.autoscale.decision import Guards, Limits

WHOLE = ("min", "max", "memory_reserve", "child_memory", "backlog", "grow_step", "shrink_step")
NAMES = ("min", "max", *(field.name for field in dataclasses.fields(Guards)))
#: Guards that mean nothing when they are zero.
POSITIVE = ("max", "child_memory", "backlog", "queue_wait", "grow_step", "shrink_step", "idle", "stale")
PERCENT = ("psi_memory", "psi_cpu", "psi_io")


class SettingsError(ValueError):
    """Limits or guards that cannot be; the text names each with its value."""


def parse(given: Mapping[str, Any], memory_total: int = -1) -> tuple[Limits, Guards]:
    """Read limits and guards: sizes in bytes, times in seconds, shares in percent, all by their field names.

    Parameters:
        given: At least ``min`` and ``max``.
        memory_total: Bytes there are, -1 where that is not known.

    Raises:
        SettingsError: With everything that is wrong.
    """
    problems = [f"{name} is not known, known are {', '.join(NAMES)}" for name in given if name not in NAMES]
    problems += [f"{name} is missing" for name in ("min", "max") if given.get(name) is None]
    values = {name: value for name, value in given.items() if name in NAMES and value is not None}
    for name, value in list(values.items()):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problems.append(f"{name} = {value!r} is no number")
        elif name in WHOLE and value != int(value):
            problems.append(f"{name} = {value!r} is no whole number")
        elif value < 0 or (name in POSITIVE and not value):
            problems.append(f"{name} = {value!r} is not above zero")
        elif name in PERCENT and value > 100:
            problems.append(f"{name} = {value!r} is more than 100 percent")
        else:
            values[name] = int(value) if name in WHOLE else float(value)
    if not problems:
        if values["min"] > values["max"]:
            problems.append(f"min {values['min']} is above max {values['max']}")
        reserve = values.get("memory_reserve") or 0
        if 0 <= memory_total <= reserve:
            problems.append(
                f"memory_reserve = {reserve} bytes is all there is, {memory_total} bytes, or more"
            )
    if problems:
        raise SettingsError("; ".join(problems))
    guards = {name: value for name, value in values.items() if name not in ("min", "max")}
    return Limits(values["min"], values["max"]), Guards(**guards)
