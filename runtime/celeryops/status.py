"""The fleet's records as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_COLUMNS = (
    "NODE",
    "HOST",
    "PID",
    "POOL",
    "STATUS",
    "QUEUES",
    "PROCESSES",
    "ACTIVE",
    "RESERVED",
    "MEMORY",
    "RELEASE",
    "SEEN",
    "LOOP",
)
_BEAT_COLUMNS = ("BEAT", "HOST", "PID", "STATUS", "LEASE", "RELEASE", "SCHEDULER", "SEEN", "TICK")
_RIGHT = {"PID", "PROCESSES", "ACTIVE", "RESERVED", "MEMORY", "SEEN", "LOOP", "TICK"}


def render(report: dict[str, Any]) -> str:
    """The text that ``fleet status`` prints."""
    fleet, nodes, beats = report["fleet"], report["nodes"], report["beats"]
    if not nodes and not beats:
        return (
            f"The fleet {fleet} has no living node.\n"
            "Next: see whether the services run (systemctl list-units 'celery-*', or celery multi show),\n"
            "read the last lines of their logs, and deploy again: ansible-playbook deploy.yml"
        )
    parts = []
    if nodes:
        parts.append(table(_COLUMNS, [_node_row(node) for node in nodes]))
    else:
        parts.append(f"The fleet {fleet} has a beat but no living worker: tasks pile up in their queues.")
    if beats:
        parts.append(table(_BEAT_COLUMNS, [_beat_row(beat) for beat in beats]))
    parts.append(_summary(fleet, nodes, beats))
    return "\n\n".join(parts)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = []
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _summary(fleet: str, nodes: list[dict[str, Any]], beats: list[dict[str, Any]]) -> str:
    processes, active = (sum(node[key] for node in nodes) for key in ("processes", "active"))
    return (
        f"Fleet {fleet}: {_count(len(nodes), 'node')}, {_count(processes, 'process')}, "
        f"{_count(active, 'active task')}, {_count(len(beats), 'beat')}."
    )


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def _node_row(node: dict[str, Any]) -> list[str]:
    processes = str(node["processes"])
    if "autoscale" in node:
        processes += f" ({node['autoscale']['min']}-{node['autoscale']['max']})"
    return [
        node["node"].partition("@")[0],
        node["host"],
        str(node["pid"]),
        node["pool"] or "-",
        node["status"],
        ",".join(node["queues"]),
        processes,
        str(node["active"]),
        str(node["reserved"]),
        f"{node['rss_bytes'] / 2**20:.0f} MB",
        node["release"] or "-",
        _age(node["age"]),
        _age(node["loop_age"]),
    ]


def _beat_row(beat: dict[str, Any]) -> list[str]:
    return [
        beat["node"].partition("@")[0],
        beat["host"],
        str(beat["pid"]),
        beat["status"],
        _lease(beat),
        beat["release"] or "-",
        beat.get("scheduler", "-").rpartition(":")[2],
        _age(beat["age"]),
        _age(beat["loop_age"]),
    ]


def _lease(beat: dict[str, Any]) -> str:
    """A beat without the lease's scheduler sends whatever others do."""
    lease = beat.get("lease")
    if lease is None:
        return "none"
    return f"{lease['state']} {lease['epoch']}" if lease["epoch"] else str(lease["state"])


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s"
