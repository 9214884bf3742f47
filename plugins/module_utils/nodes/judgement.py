# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a fleet, judged from its records and from who answers a ping. Pure functions."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

OK = "ok"
SILENT = "no reply"

# The runtime writes a record every 5 s; three missed ones are no hiccup any more.
STALE_SECONDS = 15.0

Record = Mapping[str, Any]


def answers(records: Iterable[Record], pings: Mapping[str, Any]) -> dict[str, str]:
    """node name -> "ok" or "no reply", for every worker that keeps a record or answers.

    Beat answers pings too (Celery 5.7); its record tells it from a worker.
    """
    known = list(records)
    beats = {str(one.get("node")) for one in known if one.get("kind") == "beat"}
    workers = [str(one.get("node")) for one in known if one.get("kind") != "beat"]
    names = sorted({*workers, *(name for name in pings if name not in beats and not _is_beat(name))})
    return {name: OK if name in pings else SILENT for name in names}


def problems(
    status: Mapping[str, Any], inspect: Mapping[str, str] | None = None, expected: Sequence[str] = ()
) -> list[str]:
    """Everything that is wrong, one sentence each: what was found, and what to look at.

    inspect: the answer of `answers`; None when nobody was pinged.
    expected: node names which must be there; empty when that is not known.
    """
    nodes, beats = status.get("nodes", []), status.get("beats", [])
    found: list[str] = []
    if not nodes and not inspect:
        found.append(
            "No worker node keeps a record: none runs, or none reaches the broker. Look at their logs, "
            "then deploy again."
        )
    for record in nodes:
        found += _node_problems(record)
    found += _silent(nodes, inspect or {})
    found += _strangers(nodes, inspect or {})
    found += _expected(nodes, expected)
    found += _mixed(nodes)
    found += _beats(beats)
    return found


def _node_problems(record: Record) -> list[str]:
    name = _name(record)
    found = []
    if record.get("status") != "ready":
        found.append(f"{name} is {record.get('status')}, not ready. Look at its log.")
    age = _seconds(record.get("age"))
    if age > STALE_SECONDS:
        found.append(
            f"{name} wrote its record {age:.0f} s ago; while it lives and reaches Redis it does so every 5 s."
        )
    loop_age = _seconds(record.get("loop_age"))
    if loop_age > STALE_SECONDS:
        found.append(
            f"{name} has not turned its event loop for {loop_age:.0f} s: it takes no tasks and no commands. "
            f"A blocking call in a signal handler or a full disk are the usual causes."
        )
    wanted, prefetch = _most_processes(record), record.get("prefetch_count")
    if isinstance(prefetch, int) and 0 < prefetch < wanted:
        found.append(
            f"{name} may only hold {prefetch} tasks while it may run {wanted} at once, so it cannot use its "
            f"pool. worker_enable_prefetch_count_reduction must be off, and worker_eta_task_limit unset."
        )
    return found


def _silent(nodes: Sequence[Record], inspect: Mapping[str, str]) -> list[str]:
    return [
        f"{_name(record)} keeps a record but answers no ping: it lives and reaches Redis, yet takes no "
        f"commands. If it takes no tasks either, restart it."
        for record in nodes
        if inspect.get(str(record.get("node"))) == SILENT
    ]


def _strangers(nodes: Sequence[Record], inspect: Mapping[str, str]) -> list[str]:
    known = {str(record.get("node")) for record in nodes}
    return [
        f"{name} answers a ping but keeps no record: it takes tasks from this broker without being one of "
        f"the fleet. Stop it, or give its application a broker or database number of its own."
        for name, answer in inspect.items()
        if answer == OK and name not in known
    ]


def _expected(nodes: Sequence[Record], expected: Sequence[str]) -> list[str]:
    if not expected:
        return []
    known = {str(record.get("node")) for record in nodes}
    missing = [
        f"{name} is expected but keeps no record: it does not run, or it does not reach the broker. Look at "
        f"its log, then deploy again."
        for name in expected
        if name not in known
    ]
    surplus = [
        f"{name} keeps a record but is not expected: it left the list and its host was not deployed since."
        for name in sorted(known.difference(expected))
    ]
    return missing + surplus


def _mixed(nodes: Sequence[Record]) -> list[str]:
    releases: dict[str, list[str]] = {}
    for record in nodes:
        releases.setdefault(str(record.get("release")), []).append(str(record.get("node")))
    if len(releases) < 2:
        return []
    each = "; ".join(
        f"{release} on {', '.join(sorted(names))}" for release, names in sorted(releases.items())
    )
    return [f"The nodes run {len(releases)} different releases: {each}. Deploy again to finish."]


def _beats(beats: Sequence[Record]) -> list[str]:
    found = [
        f"{_name(beat)} is {beat.get('status')}, not ready. Look at its log."
        for beat in beats
        if beat.get("status") != "ready"
    ]
    alone = [beat for beat in beats if not beat.get("lease")]
    if alone and len(beats) > 1:
        names = ", ".join(_name(beat) for beat in alone)
        found.append(
            f"{len(beats)} beats run, and {names} knows no lease: each scheduled task is sent once more by "
            "it. Stop it if it does not belong, then deploy again."
        )
    return found


def _most_processes(record: Record) -> int:
    autoscale = record.get("autoscale")
    most = autoscale.get("max") if isinstance(autoscale, dict) else record.get("concurrency")
    return most if isinstance(most, int) else 0


def _name(record: Record) -> str:
    return f"{record.get('node')} (pid {record.get('pid')} on {record.get('host')})"


def _is_beat(nodename: str) -> bool:
    return nodename.partition("@")[0] in ("beat", "celerybeat")


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
