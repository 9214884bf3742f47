# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's own books: the records its nodes keep in Redis, read through the runtime's command line."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result, run, sourced

# A read takes well below a second; a broker that does not answer is given up by the runtime itself.
READ_TIMEOUT = 30

EX_UNAVAILABLE = 69

Record = Mapping[str, Any]


class RecordsError(Exception):
    """The records cannot be read; the text says what was run and what it answered."""


def read(
    command: Sequence[str],
    env_files: Sequence[str] = (),
    user: str | None = None,
    timeout: float = READ_TIMEOUT,
) -> dict[str, Any]:
    """{"fleet", "now", "nodes": [record], "beats": [record]}"""
    result = run(sourced(env_files, command), timeout=timeout, user=user)
    shown = " ".join(command)
    if result.timed_out:
        raise RecordsError(f"`{shown}` has not answered within {timeout:g} s; is the broker reachable?")
    if result.rc != 0:
        raise RecordsError(f"`{shown}` ended with {result.rc}: {_last_lines(result.text)}")
    return parse(result.out, shown)


def parse(text: str, shown: str = "the status command") -> dict[str, Any]:
    """The JSON object in the answer. An application may print while it is imported: it is passed over."""
    start = text.find("{")
    while start != -1:
        try:
            found, _end = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        if isinstance(found, dict) and "nodes" in found:
            return {"fleet": "", "now": None, "beats": [], **found}
        start = text.find("{", start + 1)
    raise RecordsError(f"`{shown}` has not answered with the fleet's records but with: {_last_lines(text)}")


def parse_pings(result: Result) -> dict[str, Any]:
    """Who answered, from `celery inspect --json ping`: {node name: {"ok": "pong"}}.

    69 (EX_UNAVAILABLE) is Celery's way to say that nobody did.
    """
    if result.timed_out:
        raise RecordsError("`celery inspect ping` has not ended in time; is the broker reachable?")
    if result.rc not in (0, EX_UNAVAILABLE):
        raise RecordsError(f"`celery inspect ping` ended with {result.rc}: {_last_lines(result.text)}")
    start = result.out.find("{")
    while start != -1:
        try:
            found, _end = json.JSONDecoder().raw_decode(result.out, start)
        except ValueError:
            found = None
        if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()):
            return found
        start = result.out.find("{", start + 1)
    return {}


def of_process(status: Mapping[str, Any], pid: int, fingerprint: str, nodename: str = "") -> Record | None:
    """The record which this very process has written; a predecessor's record is none."""
    for record in all_records(status):
        if record.get("pid") != pid or record.get("fingerprint") != fingerprint:
            continue
        if nodename and record.get("node") != nodename:
            continue
        return record
    return None


def of_node(status: Mapping[str, Any], nodename: str) -> Record | None:
    return next((one for one in all_records(status) if one.get("node") == nodename), None)


def all_records(status: Mapping[str, Any]) -> list[Record]:
    return [*status.get("nodes", []), *status.get("beats", [])]


def is_ready(record: Record | None) -> bool:
    return record is not None and record.get("status") == "ready"


def describe(record: Record | None) -> str:
    if record is None:
        return "it has written no record into Redis"
    return (
        f"its record says {record.get('status')} (pid {record.get('pid')}, "
        f"fingerprint {record.get('fingerprint')}, tasks active: {record.get('active', 0)})"
    )


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:]) or "nothing"
