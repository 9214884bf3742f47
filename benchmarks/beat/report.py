"""The figures as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.beat.scenarios import Outcome
from benchmarks.beat.servers import Single, binary

RESULTS = Path(__file__).resolve().parents[1] / "results" / "beat.json"
COUNTS = ("failovers", "pushes", "duplicates", "missed", "epoch_regressions", "crashes")
TIMES = ("first_publish_p50_s", "first_publish_p99_s", "first_publish_max_s")
# Key at the top of the result: scenario and its figure.
_TIMES_OF = {
    "first_publish_p50_s": ("sigkill", "first_publish_p50_s"),
    "first_publish_p99_s": ("sigkill", "first_publish_p99_s"),
    "handback_p99_s": ("handback", "first_publish_p99_s"),
    "sigterm_p99_s": ("sigterm", "first_publish_p99_s"),
    "move_p99_s": ("move", "first_publish_p99_s"),
}
REDBEAT = "redbeat_"


def total(outcomes: Sequence[Outcome], name: str) -> int:
    """Over all scenarios in which it is counted."""
    return sum(getattr(one, name) for one in outcomes if name not in one.scenario.excused)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The keys at the top of the result, RedBeat's beside ours, and every fault."""
    found: dict[str, Any] = {}
    for prefix in ("", REDBEAT):
        mine = {one.name: one for one in outcomes if one.name.startswith(REDBEAT) == bool(prefix)}
        for name in COUNTS:
            found[prefix + name] = total(list(mine.values()), name)
        for key, (scenario, name) in _TIMES_OF.items():
            if one := mine.get(prefix + scenario):
                found[prefix + key] = getattr(one, name)
    return {**found, "faults": {one.name: one.as_json() for one in outcomes}}


def versions(folder: Path) -> dict[str, Any]:
    servers = Single(folder)
    servers.start()
    try:
        with servers.client() as client:
            server = f"{Path(binary()).name} {client.info('server')['redis_version']}"
    finally:
        servers.stop()
    return {
        **{name: version(name) for name in ("celery", "kombu", "redis", "celery-redbeat")},
        "server": server,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def show(outcomes: Sequence[Outcome], costs: Mapping[str, Any]) -> None:
    table = Table(title="What beat does when things fail")
    table.add_column("fault")
    for name in ("ttl s", "rounds", *COUNTS, *TIMES):
        table.add_column(name.replace("first_publish_", "").replace("_", " "), justify="right")
    for one in outcomes:
        cells = [f"{one.scenario.ttl:g}", str(one.rounds), *(str(getattr(one, name)) for name in COUNTS)]
        cells += ["" if (value := getattr(one, name)) is None else f"{value:.2f}" for name in TIMES]
        table.add_row(one.name, *cells)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for one in outcomes:
        if one.trouble:
            console.print(f"{one.name} was broken off. {one.trouble}", style="red")
    for name, value in costs.items():
        console.print(f"{name:28}{value:>12}")


def write(result: Mapping[str, Any], path: Path = RESULTS) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
