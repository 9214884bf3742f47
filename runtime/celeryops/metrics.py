"""The fleet's books in the text format of Prometheus, such as node_exporter reads from a file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Record = dict[str, Any]

_OF_NODES: tuple[tuple[str, str, Callable[[Record], Any]], ...] = (
    ("celery_node_ready", "Whether the node is ready.", lambda node: int(node["status"] == "ready")),
    ("celery_node_processes", "Processes of the pool.", lambda node: node["processes"]),
    ("celery_node_active_tasks", "Tasks that run.", lambda node: node["active"]),
    ("celery_node_reserved_tasks", "Messages that wait in the node.", lambda node: node["reserved"]),
    ("celery_node_resident_bytes", "Memory of the node and its processes.", lambda node: node["rss_bytes"]),
    ("celery_node_record_age_seconds", "Age of the node's record.", lambda node: node["age"]),
    ("celery_node_started_timestamp_seconds", "When the node started.", lambda node: node["started"]),
)
_OF_SCALERS: tuple[tuple[str, str, str], ...] = (
    ("celery_autoscaler_min_processes", "Fewest processes.", "min"),
    ("celery_autoscaler_max_processes", "Most processes.", "max"),
    ("celery_autoscaler_wanted_processes", "Processes that the work asks for.", "want"),
    ("celery_autoscaler_room_processes", "Further processes that memory has room for.", "fit"),
    ("celery_autoscaler_held", "Whether the machine holds the node back.", "held"),
)


def render(books: Record) -> str:
    """One sample a line, with the node, its pool and its host."""
    return "".join(f"{line}\n" for line in _lines(books))


def _lines(books: Record) -> Iterator[str]:
    nodes, fleet = books["nodes"], books["fleet"]
    for name, text, value in _OF_NODES:
        yield from _head(name, text)
        for node in nodes:
            if node["status"] == "ready" or name == "celery_node_ready":
                yield f"{name}{{{_labels(fleet, node)}}} {value(node)}"
    scaled = [node for node in nodes if "autoscaler" in node]
    for name, text, key in _OF_SCALERS:
        yield from _head(name, text)
        for node in scaled:
            yield f"{name}{{{_labels(fleet, node)}}} {int(node['autoscaler'][key])}"
    yield from _head("celery_autoscaler_reason", "1 for the reason of the last decision.")
    for node in scaled:
        reason = _escaped(node["autoscaler"]["reason"])
        yield f'celery_autoscaler_reason{{{_labels(fleet, node)},reason="{reason}"}} 1'
    yield from _head("celery_beats", "Beats of the fleet, those that stand by too.")
    yield f'celery_beats{{fleet="{_escaped(fleet)}"}} {len(books["beats"])}'
    yield from _head("celery_beat_holds_lease", "Whether this beat is the one that sends.")
    for beat in books["beats"]:
        if "lease" in beat:
            holds = int(beat["lease"]["state"] == "holder")
            yield f"celery_beat_holds_lease{{{_labels(fleet, beat)}}} {holds}"


def _head(name: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"


def _labels(fleet: str, node: Record) -> str:
    values = {"fleet": fleet, "node": node["node"], "pool": node["pool"], "host": node["host"]}
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(value: Any) -> str:
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
