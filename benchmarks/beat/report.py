"""The figures as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.beat.scenarios import Outcome

RESULTS = Path(__file__).resolve().parents[1] / "results" / "beat.json"
_COLUMNS = ("rounds", "failovers", "pushes", "duplicates", "missed", "epoch_regressions", "crashes")
_TIMES = ("first_publish_p50_s", "first_publish_p99_s")


def summary(outcomes: Sequence[Outcome], costs: Mapping[str, Any]) -> dict[str, Any]:
    """The keys at the top of the result; those of RedBeat beside them. By policy, `coalesce` misses slots."""
    found: dict[str, Any] = {}
    for prefix in ("", "redbeat_"):
        ours = [one for one in outcomes if one.redbeat == bool(prefix)]
        for name in ("failovers", "pushes", "duplicates", "missed", "epoch_regressions", "crashes"):
            counted = [one for one in ours if name not in one.excused]
            found[prefix + name] = sum(getattr(one, name) for one in counted)
        for key, scenario, name in (
            ("first_publish_p50_s", "sigkill", "first_publish_p50_s"),
            ("first_publish_p99_s", "sigkill", "first_publish_p99_s"),
            ("handback_p99_s", "handback", "first_publish_p99_s"),
            ("move_p99_s", "move", "first_publish_p99_s"),
            ("sigterm_p99_s", "sigterm", "first_publish_p99_s"),
        ):
            for one in ours:
                if one.scenario == prefix + scenario:
                    found[prefix + key] = getattr(one, name)
    return {**found, **costs, "faults": {one.scenario: one.as_json() for one in outcomes}}


def show(outcomes: Sequence[Outcome]) -> None:
    table = Table(title="What beat does when things fail")
    table.add_column("fault")
    for name in (*_COLUMNS, *_TIMES):
        table.add_column(name.replace("first_publish_", "").replace("_", " "), justify="right")
    for one in outcomes:
        cells = [f"{getattr(one, name)}" for name in _COLUMNS]
        cells += [f"{getattr(one, name):.2f}" if getattr(one, name) is not None else "" for name in _TIMES]
        table.add_row(one.scenario, *cells, end_section=False)
    console = Console()
    console.print(table)
    for one in outcomes:
        if one.trouble:
            console.print(f"{one.scenario} was broken off: {one.trouble}", style="red")


def write(result: Mapping[str, Any], path: Path = RESULTS) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
