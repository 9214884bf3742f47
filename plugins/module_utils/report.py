# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the fleet's records prove, and how they are shown to an operator. Pure functions."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

HEADINGS = ("NODE", "HOST", "PID", "POOL", "QUEUES", "PROCESSES", "RELEASE", "STATUS")

Record = Mapping[str, Any]
Node = Mapping[str, Any]


def missing_nodes(expected: Iterable[Node], records: Sequence[Record]) -> list[str]:
    """Say which expected nodes are not proved by the records, one sentence each.

    Args:
        expected: node specs, each with ``nodename`` and ``fingerprint``.
        records: the fleet's records of kind worker.
    """
    found = {record["node"]: record for record in records}
    problems = []
    for node in expected:
        record = found.get(node["nodename"])
        if record is None:
            problems.append(
                f"{node['nodename']} keeps no record in Redis: it does not run, or it cannot reach "
                "the broker. Look at its log, then deploy again."
            )
        elif record.get("fingerprint") != node["fingerprint"]:
            problems.append(
                f"{node['nodename']} (pid {record.get('pid')}) still runs settings "
                f"{record.get('fingerprint')}, not {node['fingerprint']}. Deploy again; if it "
                "stays, stop the process by hand."
            )
        elif record.get("status") != "ready":
            problems.append(
                f"{node['nodename']} (pid {record.get('pid')}) is {record.get('status')}, not ready. "
                "Look at its log."
            )
    return problems


def no_beat_problems(beats: Sequence[Record]) -> list[str]:
    """Name the beats of a fleet that is to have none."""
    return [
        f"{beat.get('node')} on {beat.get('host')} (pid {beat.get('pid')}) is a beat, and no host of the "
        "inventory is in the group celery_beat. Put one there, or stop that process, then deploy again."
        for beat in beats
    ]


def lost_problems(lost: Sequence[str]) -> list[str]:
    """Name the hosts that did not get through the run. What runs on them is nobody's to judge."""
    if not lost:
        return []
    verdict = (
        f"Lost on the way, for the reason given above: {', '.join(lost)}. What runs there was not judged and "
        "may be older. The other hosts are finished. Repair what is wrong, then deploy again."
    )
    return [verdict]


def proof_problems(
    info: Mapping[str, Any],
    expected: Iterable[Node],
    canary: Mapping[str, Any],
    lost: Sequence[str] = (),
    beat: Sequence[str] | None = None,
) -> list[str]:
    """Collect everything that speaks against a finished deploy, one sentence each; empty is the proof.

    Args:
        info: what ``celery_info`` returned: ``nodes`` and ``beats`` are lists of records.
        expected: the specs of all nodes that should run, over all hosts that the run saw to its end.
        canary: the answer of ``fleet canary``: ``queues`` maps a queue to ``{"ok": bool, ...}``.
        lost: hosts that failed or could not be reached on the way.
        beat: what the module ``celery_beat`` has against beat; None for a fleet that is to have none.
    """
    problems = lost_problems(lost)
    problems += missing_nodes(expected, info.get("nodes", []))
    problems += no_beat_problems(info.get("beats", [])) if beat is None else beat
    problems += [
        f"The canary task in queue {queue} has not come back: {answer.get('error', 'no reason given')}."
        for queue, answer in canary.get("queues", {}).items()
        if not answer.get("ok")
    ]
    return problems


def fleet_report(
    info: Mapping[str, Any],
    flower: Mapping[str, Any] | None = None,
    hints: Sequence[Mapping[str, str]] = (),
    hidden: Sequence[str] = (),
    lost: Sequence[str] = (),
) -> str:
    """Render the table of what runs where.

    Args:
        info: what ``celery_info`` returned.
        flower: ``url``, ``user`` and ``password_file``, or nothing where no Flower runs.
        hints: what to try next, each a ``command`` and what it ``shows``.
        hidden: hosts of the inventory that the run was not to touch. Their nodes keep records and are shown.
        lost: hosts that failed or could not be reached on the way.

    Returns:
        Lines of text without trailing spaces, ready to print.
    """
    rows: list[tuple[str, ...]] = [HEADINGS]
    for record in sorted(info.get("nodes", []), key=lambda record: str(record.get("node"))):
        rows.append(
            (
                str(record.get("node", "?")),
                str(record.get("host", "?")),
                str(record.get("pid", "?")),
                str(record.get("pool", "?")),
                ",".join(record.get("queues") or []) or "-",
                _processes(record),
                str(record.get("release", "?")),
                str(record.get("status", "?")),
            )
        )
    lines = [f"Fleet {info.get('fleet', '?')}", ""]
    nobody = ["No worker node keeps a record: none runs, or Redis cannot be reached."]
    lines += _columns(rows) if len(rows) > 1 else nobody
    lines.append("")
    queues = _queues(info.get("nodes", []))
    if queues:
        lines += [*_columns([("QUEUE", "CONSUMERS"), *queues]), ""]
    lines += _beats(info.get("beats", []))
    if flower:
        place = f"in {flower['password_file']}" if flower["password_file"] else "as the inventory gives it"
        login = f"user {flower['user']}, password {place}" if flower["user"] else "no login"
        lines.append(f"Flower   {flower['url']}  {login}")
    if hidden:
        lines.append(f"hidden   {', '.join(hidden)}: left out by --limit, and as before")
    if lost:
        lines.append(f"LOST     {', '.join(lost)}: not finished, see the error above")
    lines += [f"PROBLEM  {problem}" for problem in info.get("problems", [])]
    if hints:
        lines += ["", "Try next:"]
        lines += [f"  {line}" for line in _columns([(hint["command"], hint["shows"]) for hint in hints])]
    return "\n".join(lines)


def _beats(records: Sequence[Record]) -> list[str]:
    """Who sends what is scheduled, and who would take over.

    A record is written every few seconds: of two that say they have the lease, one has not had its turn yet.
    """
    holders = [record for record in records if record.get("lease", {}).get("state", "holder") == "holder"]
    newest = max((_epoch(record) for record in holders), default=0)
    lines = [
        f"beat     on {record.get('host')}, pid {record.get('pid')}, release {record.get('release')}"
        for record in holders
        if _epoch(record) in (newest, 0)
    ]
    if not lines:
        lines.append("beat     none: no scheduled task is sent")
    waiting = [
        str(record.get("host")) for record in records if record not in holders or 0 < _epoch(record) < newest
    ]
    if waiting:
        lines.append(f"standby  {', '.join(sorted(waiting))}")
    return lines


def _epoch(record: Record) -> int:
    return int(record.get("lease", {}).get("epoch") or 0)


def _queues(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Each queue with the pools that consume it now, and their hosts."""
    found: dict[str, dict[str, set[str]]] = {}
    for record in records:
        for queue in record.get("queues") or []:
            hosts = found.setdefault(queue, {}).setdefault(str(record.get("pool", "?")), set())
            hosts.add(str(record.get("host", "?")))
    return [
        (queue, "; ".join(f"{pool} on {', '.join(sorted(hosts))}" for pool, hosts in sorted(pools.items())))
        for queue, pools in sorted(found.items())
    ]


def _processes(record: Record) -> str:
    """Pool processes now, with the bounds they move in when the node scales."""
    bounds = record.get("autoscale")
    now = record.get("processes", "?")
    return f"{now} of {bounds['min']}..{bounds['max']}" if bounds else str(now)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths: dict[int, int] = {i: max(len(row[i]) for row in rows) for i in range(len(rows[0]))}
    return ["  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
