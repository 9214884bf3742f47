"""What is asked and told from outside: who holds the lease, where beat shall run, who has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celeryops.beat import scripts
from celeryops.beat.keys import Keys
from celeryops.books import Books
from celeryops.broker import collect

FORGET_AFTER = 86400  # s after which a host that was not seen is no candidate any more
PINNED, PREFERRED, ANYWHERE = "pinned", "preferred", "anywhere"


def show(books: Books) -> dict[str, Any]:
    """The lease, where beat shall run, every candidate that says that it is there, and all records of beats.

    The records are those of the fleet's books, so a beat of a release that knows no lease is among them.
    """
    keys = _keys(books)
    seconds, microseconds, lease, left, epoch, place, lines, *records = books.client.eval(
        scripts.SHOW, 5, keys.lease, keys.epoch, keys.place, keys.candidates, keys.ledger,
        keys.candidate_prefix, FORGET_AFTER,
    )  # fmt: skip
    now = int(seconds) + int(microseconds) / 1e6
    server = collect(books.client)
    return {
        "fleet": books.fleet,
        "now": now,
        "epoch": int(epoch),
        "lease": read_token(_text(lease), int(left)),
        "place": read_place(_text(place)),
        "entries": int(lines),
        "persistent": bool(server["aof_enabled"] or server["rdb_enabled"]),
        "server": f"{server['server']} {server['version']}",
        "candidates": sorted(
            (read_candidate(_text(record), now) for record in records[1::2]), key=lambda one: one["host"]
        ),
        "beats": books.read()["beats"],
    }


def place(books: Books, mode: str, host: str) -> dict[str, Any]:
    """Say where beat shall run; the holder hands over by itself.

    Parameters:
        mode: ``pinned`` (nowhere else), ``preferred`` (there while that host is fit) or ``anywhere``.
        host: The host, empty for anywhere.
    """
    wanted = "" if mode == ANYWHERE else json.dumps({"mode": mode, "host": host})
    keys = _keys(books)
    before = _text(books.client.eval(scripts.PLACE, 2, keys.place, keys.bell, wanted))
    return {"changed": before != wanted, "before": read_place(before), "after": read_place(wanted)}


def forget(books: Books, host: str) -> dict[str, Any]:
    """A host has left: it is no candidate any more, and a lease that it holds ends at once."""
    keys = _keys(books)
    known = books.client.eval(
        scripts.FORGET, 4, keys.lease, keys.candidate(host), keys.candidates, keys.bell, host
    )
    return {"changed": bool(known)}


def hand_back(books: Books, token_file: Path) -> bool:
    """Give back the lease of a beat that has ended without doing so. Whether there was one to give back."""
    try:
        token = token_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    identity = token.partition("|")[2]
    host = identity.split("|")[1]
    keys = _keys(books)
    released = books.client.eval(scripts.RELEASE, 3, keys.lease, keys.candidate(host), keys.bell, identity, 1)
    token_file.unlink(missing_ok=True)
    return bool(released)


def read_token(token: str, left: int) -> dict[str, Any] | None:
    """A lease for people and tools; `left` in ms."""
    if not token:
        return None
    epoch, node, host, pid, _ = token.split("|", 4)
    return {"epoch": int(epoch), "node": node, "host": host, "pid": int(pid), "left": max(0, left) / 1000}


def read_place(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def read_candidate(text: str, now: float) -> dict[str, Any]:
    """What a candidate says of itself, its age, and by how many seconds its clock is ahead of Redis'."""
    stamp, fit, record = text.split("|", 2)
    found: dict[str, Any] = json.loads(record)
    return {
        **{key: value for key, value in found.items() if key != "clock"},
        "fit": fit == "1",
        "age": round(max(0.0, now - float(stamp)), 3),
        "clock_offset": round(found["clock"] - float(stamp), 3),
    }


def render(report: dict[str, Any]) -> str:
    """`show` for people."""
    lease, wanted = report["lease"], report["place"]
    lines = []
    if lease:
        lines.append(
            f"beat runs on {lease['host']}, epoch {lease['epoch']}, "
            f"the lease lasts {lease['left']:.1f} s more"
        )
    else:
        lines.append(f"No beat has the lease; the last one had epoch {report['epoch']}.")
    if wanted:
        lines.append(f"It is {wanted['mode']} on {wanted['host']}.")
    for one in report["candidates"]:
        trouble = f", {one['trouble']}" if one["trouble"] else ""
        lines.append(
            f"  {one['host']}: {one['state']}{trouble}, pid {one['pid']}, seen {one['age']:.1f} s ago, "
            f"tick {one['tick_age']:.1f} s, clock {one['clock_offset']:+.3f} s"
        )
    if not report["candidates"]:
        lines.append("No candidate runs: see systemctl status 'celery-*-beat', or deploy again.")
    lines.append(f"{report['entries']} entries in the ledger, {report['server']}.")
    if not report["persistent"]:
        lines.append("This Redis stores nothing on disk: when it restarts, slots may be skipped.")
    return "\n".join(lines)


def _keys(books: Books) -> Keys:
    return Keys(books.prefix, books.fleet)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
