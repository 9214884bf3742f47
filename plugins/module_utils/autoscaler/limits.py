# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the limits of autoscaled nodes are to become, and what speaks against it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.pools.keys import limit

Limits = Dict[str, Any]


@dataclass(frozen=True)
class Node:
    """A node of this host.

    Parameters:
        name: Name on its host, such as ``default-1``.
        nodename: Name in the fleet, such as ``default-1@worker1``.
        written: Limits in its file, None without one.
        running: Limits by which its process goes, as its record says; None where no process runs.
        wanted: Limits that it shall have.
    """

    name: str
    nodename: str
    written: Limits | None
    running: Limits | None
    wanted: Limits


def read(given: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Limits], list[str]]:
    """Limits with their units by name of node: in base units, and what of them cannot be read."""
    found: dict[str, Limits] = {}
    problems = []
    for nodename, limits in given.items():
        found[nodename] = {}
        for key, value in limits.items():
            try:
                found[nodename][key] = limit(key, value)
            except ValueError as error:
                problems.append(f"{nodename}: {error}.")
    return found, problems


def of_record(record: Mapping[str, Any]) -> Limits:
    """The limits by which a node goes, as its record says. An application's own autoscaler has only two."""
    known = record.get("autoscaler")
    return dict(known["given"] if known else record.get("autoscale") or {})


def merged(written: Limits | None, given: Mapping[str, Any], keep_others: bool) -> Limits:
    """The limits a node shall have: those given, over what its file says if the others stay."""
    return {**((written or {}) if keep_others else {}), **given}


def problems(nodes: Iterable[Node], memory_total: int) -> list[str]:
    """Why these limits cannot work on this host, whose memory is given in bytes, 0 where it is not known."""
    found = []
    for node in nodes:
        wanted = node.wanted
        missing = [key for key in ("min", "max") if key not in wanted]
        if missing:
            found.append(
                f"{node.nodename} has no {' and no '.join(missing)}, and no file that says. Its pool is not "
                "autoscaled: give it autoscale in celery_worker_pools and deploy, or scale another pool."
            )
            continue
        if wanted["min"] > wanted["max"]:
            found.append(
                f"{node.nodename} would have min {wanted['min']} above max {wanted['max']}, and no number of "
                "processes satisfies both. Raise max, or lower min."
            )
        reserve = wanted.get("memory_reserve") or 0
        if memory_total and reserve >= memory_total:
            found.append(
                f"{node.nodename} would have a memory_reserve of {reserve} bytes, and its host has "
                f"{memory_total} bytes in all, so it could never grow. Lower memory_reserve."
            )
    return found


def batches(nodes: Iterable[Node]) -> list[tuple[Limits, list[str]]]:
    """Running nodes that go by other limits than they shall, as (limits, node names), to be told together."""
    told: dict[str, tuple[Limits, list[str]]] = {}
    for node in nodes:
        if node.running is not None and node.running != node.wanted:
            key = json.dumps(node.wanted, sort_keys=True)
            told.setdefault(key, (node.wanted, []))[1].append(node.nodename)
    return list(told.values())


def text(limits: Limits | None) -> str:
    """As it stands in a file."""
    return json.dumps(limits or {}, indent=2, sort_keys=True) + "\n"


def lines(nodes: Sequence[Node], which: str) -> str:
    """One line a node, for a diff: which is `running` or `wanted`."""
    return "".join(
        f"{node.nodename}: {json.dumps(getattr(node, which) or {}, sort_keys=True)}\n" for node in nodes
    )


def account(done: Sequence[str], failed: Mapping[str, str]) -> str:
    """What became of each node when not all went well."""
    parts = [f"{name}: {why}" for name, why in sorted(failed.items())]
    parts.append(f"Changed already: {', '.join(sorted(done))}." if done else "No running node was changed.")
    return " ".join(parts)
