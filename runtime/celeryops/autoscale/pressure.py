"""Pressure stall information: the share of time in which tasks waited for a resource."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from celeryops.autoscale.memory import CGROUPS, PROC, of_process


class Pressure(NamedTuple):
    """Percent of the last 10 s in which some, or all, tasks waited; None where the kernel does not say."""

    some: float | None
    full: float | None


def read(resource: str, proc: Path = PROC, root: Path = CGROUPS) -> Pressure:
    """Of this process's cgroup, or else of the machine.

    Parameters:
        resource: ``memory``, ``cpu`` or ``io``.
    """
    group = of_process(resource, proc, root)
    places = [folder / f"{resource}.pressure" for folder in group.folders[:1] if group.version == 2]
    for path in [*places, proc / "pressure" / resource]:
        try:
            found = parse(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if found.some is not None:
            return found
    return Pressure(None, None)


def parse(text: str) -> Pressure:
    """``some avg10=1.23 avg60=...``, and the same for ``full``."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        kind, *values = line.split()
        for value in values:
            name, _, share = value.partition("=")
            if name == "avg10":
                found[kind] = float(share)
    return Pressure(found.get("some"), found.get("full"))
