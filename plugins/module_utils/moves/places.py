# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a fleet keeps its queues, where it shall keep them, and what follows. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import urlsplit, urlunsplit

Place = Mapping[str, Any]
"""{"fleet": name, "url": broker, "options": its transport options, "results": URL, "result_options": {}}"""

_LINE = re.compile(r'^([A-Za-z_][A-Za-z0-9_]*)="(.*)"$', re.MULTILINE)


class Decision(NamedTuple):
    """What a deploy has to do about it."""

    moves: bool
    """Whether keys go to the wanted place before anything runs there."""
    sources: list[Place]
    """Where they come from. More than one when an earlier move elsewhere was broken off."""
    sweeps: bool
    """Whether only what producers have left behind is still to be fetched."""


def place(
    fleet: str, url: str, settings: Mapping[str, Any] | None = None, results: str = ""
) -> dict[str, Any]:
    known = settings or {}
    return {
        "fleet": fleet,
        "url": url,
        "options": known.get("broker_transport_options") or {},
        "results": results,
        "result_options": known.get("result_backend_transport_options") or {},
    }


def installed(fleet: str, environment: str, settings: str) -> dict[str, Any] | None:
    """The place that the files of a host name; None when they name none."""
    known = parse_environment(environment)
    if not known.get("CELERY_BROKER_URL"):
        return None
    try:
        document = json.loads(settings)["settings"]
    except (ValueError, KeyError, TypeError):
        document = {}
    return place(fleet, known["CELERY_BROKER_URL"], document, known.get("CELERY_RESULT_BACKEND", ""))


def parse_environment(text: str) -> dict[str, str]:
    """What env_file of module_utils/envfile has written."""
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in _LINE.findall(text)}


def address(url: str) -> str:
    """A URL without who logs in: two URLs that differ only in a password mean one place."""
    found = []
    for one in url.split(";"):
        parts = urlsplit(one)
        found.append(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/0", "", "")))
    return ";".join(sorted(found))


def label(one: Place) -> str:
    """A place in words, without a password."""
    prefix = one["options"].get("global_keyprefix")
    return f"{address(one['url'])}{f' behind {prefix!r}' if prefix else ''} ({one['fleet']})"


def same(one: Place, other: Place) -> bool:
    return _identity(one) == _identity(other)


def _identity(one: Place) -> tuple[Any, ...]:
    options, result_options = one["options"], one["result_options"]
    return (
        one["fleet"],
        address(one["url"]),
        options.get("global_keyprefix") or "",
        options.get("master_name") or "",
        address(one["results"]) if one["results"] else "",
        result_options.get("global_keyprefix") or "",
    )


def decide(now: Place | None, wanted: Place, note: Mapping[str, Any] | None) -> Decision:
    """What to do.

    now: the place that is installed; None on a host that has no fleet yet.
    note: {"from": [place], "to": place} of a move that has begun, until it is known to be over.
    """
    broken_off = bool(note) and not same(note["to"], wanted)  # type: ignore[index]
    candidates: list[Place] = [*(note["from"] if note else ())]
    if note and broken_off:
        candidates.append(note["to"])
    if now is not None:
        candidates.append(now)
    sources: list[Place] = []
    for one in candidates:
        if not same(one, wanted) and not any(same(one, other) for other in sources):
            sources.append(one)
    moves = broken_off or (now is not None and not same(now, wanted))
    return Decision(moves and bool(sources), sources, bool(note) and not moves)


def new_note(sources: Sequence[Place], wanted: Place) -> dict[str, Any]:
    return {"from": list(sources), "to": wanted}


def describe(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several answers of the runtime as one."""
    return {
        "messages": sum(one.get("messages", 0) for one in reports),
        "keys": sum(one.get("keys", 0) for one in reports),
        "late": sum(one.get("late", 0) for one in reports),
        "producers": sorted({name for one in reports for name in one.get("producers", ())}),
        "clients": sorted({name for one in reports for name in one.get("clients", ())}),
    }


def warning(report: Mapping[str, Any], sources: Sequence[Place]) -> str:
    """What an operator must know after the last look at the old place; empty when it is quiet."""
    if not report["producers"] and not report["clients"] and not report["late"]:
        return ""
    old = ", ".join(label(one) for one in sources)
    told = [f"The fleet has moved away from {old}, which is still in use."]
    if report["late"]:
        told.append(f"{report['late']} messages came there late and were fetched.")
    if report["producers"]:
        told.append(f"They were sent by {', '.join(report['producers'])} (pid@host).")
    if report["clients"]:
        told.append(f"Connected are {', '.join(report['clients'])}.")
    told.append(
        "Give these programs the new broker URL and restart them. What they send until then is fetched by "
        "the next deploy."
    )
    return " ".join(told)
