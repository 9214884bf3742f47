# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether exactly one beat sends, and where it shall, judged from what Redis knows. Pure.

A report is the answer of ``python -m celeryops beat show``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.beat.place import PINNED, Place

HOLDER, STANDBY = "holder", "standby"

STALL_SECONDS = 30.0
"""A tick of beat returns within a poll; one that takes this long hangs."""

Report = Mapping[str, Any]

#: Of a fleet of which Redis knows nothing yet.
NOTHING: Report = {
    "epoch": 0,
    "lease": None,
    "place": None,
    "candidates": [],
    "beats": [],
    "persistent": True,
}


@dataclass(frozen=True)
class Wanted:
    """Beat as the inventory wants it.

    Parameters:
        candidates: Hosts that run beat.
        unseen: Those of them that the run does not see to its end; of these nothing is asked.
        place: Where it shall send from.
        fingerprints: What the beat of a host must carry, for those hosts of which it is known.
        clock_tolerance: Seconds by which a host's clock may be off Redis' clock.
    """

    candidates: Sequence[str]
    unseen: frozenset[str] = frozenset()
    place: Place = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    clock_tolerance: float = 5.0

    @property
    def seen(self) -> list[str]:
        return [host for host in self.candidates if host not in self.unseen]


def holder(report: Report) -> str:
    """The host that has the lease; empty for none."""
    lease = report.get("lease")
    return str(lease["host"]) if lease else ""


def without_lease(report: Report) -> list[dict[str, Any]]:
    """Beats that send without asking anybody: those of a release that knew no lease, and strays."""
    return [
        {"host": str(one.get("host")), "node": str(one.get("node")), "pid": one.get("pid")}
        for one in report["beats"]
        if not one.get("lease")
    ]


def problems(report: Report, wanted: Wanted) -> list[str]:
    """Everything that keeps beat from being as it is wanted, one sentence each; empty is the proof."""
    alive = {str(one["host"]): one for one in report.get("candidates", [])}
    found = _alone(without_lease(report), wanted)
    found += _lease(report, alive, wanted)
    found += _strangers(alive, holder(report), wanted)
    for host in wanted.seen:
        found += _candidate(host, alive.get(host), holder(report), wanted)
    return found


def warnings(report: Report, wanted: Wanted) -> list[str]:
    """What the operator should know of a beat that is as it is wanted."""
    found = []
    if not report.get("persistent", True):
        found.append(
            f"{report.get('server', 'Redis')} stores nothing on disk. When it restarts it has forgotten "
            "which slots of the schedule were sent: those that fall into its outage may be skipped. Turn on "
            "appendonly."
        )
    found += [
        f"{one['host']} runs a beat and is no candidate by this inventory. This run does not see it, so it "
        "goes on and would take the lease if nobody else did. Deploy to it as well."
        for one in report.get("candidates", [])
        if one["host"] in wanted.unseen and one["host"] not in wanted.candidates
    ]
    place = wanted.place
    lost = not holder(report) and place and place["mode"] == PINNED and place["host"] in wanted.unseen
    if place and lost:
        found.append(
            f"No beat sends: it is pinned on {place['host']}, which this run does not see. Deploy to that "
            "host, or pin beat on another one."
        )
    return found


def _alone(older: Sequence[Mapping[str, Any]], wanted: Wanted) -> list[str]:
    return [
        f"{one['node']} on {one['host']} (pid {one['pid']}) is a beat that knows no lease, and sends every "
        "scheduled task beside the one that has it. "
        + (
            "Deploy to that host, which replaces it."
            if one["host"] in wanted.candidates
            else "Stop it and see that nothing starts it again, then deploy."
        )
        for one in older
    ]


def _lease(report: Report, alive: Mapping[str, Mapping[str, Any]], wanted: Wanted) -> list[str]:
    has, place = holder(report), wanted.place
    if not has:
        if place and place["mode"] == PINNED:
            # What is asked of a host that nobody sees is for the warnings.
            return (
                [] if place["host"] in wanted.unseen else [_nobody(f", which is pinned on {place['host']}")]
            )
        return [] if wanted.candidates and not wanted.seen else [_nobody("")]
    if not place or has == place["host"]:
        return []
    one = alive.get(place["host"])
    if place["mode"] == PINNED:
        return [f"Beat sends from {has} and is pinned on {place['host']}: the lease has not moved yet."]
    if one is not None and one.get("fit", True):
        return [
            (
                f"Beat sends from {has} and {place['host']} is preferred, which is fit: the lease has not "
                "moved yet."
            )
        ]
    return []


def _nobody(more: str) -> str:
    return (
        f"No host has the lease of beat{more}: no scheduled task is sent. Look at the logs of its "
        "candidates, then deploy again."
    )


def _strangers(alive: Mapping[str, Mapping[str, Any]], has: str, wanted: Wanted) -> list[str]:
    found = []
    for host, one in sorted(alive.items()):
        if host in wanted.candidates or host in wanted.unseen:
            continue
        does = "sends" if host == has else "would take over"
        found.append(
            f"The beat of {host} (pid {one.get('pid')}) runs and {does}, and {host} is no candidate by this "
            "inventory. Deploy to it, which removes its beat. If it cannot be reached, pin beat on another "
            "host meanwhile: what a pinned fleet's other beats send is refused."
        )
    return found


def _candidate(host: str, one: Mapping[str, Any] | None, has: str, wanted: Wanted) -> list[str]:
    if one is None:
        return [
            (
                f"The beat of {host} says nothing of itself in Redis: it does not run, or does not reach the "
                "broker. Look at its log, then deploy again."
            )
        ]
    name = f"The beat of {host} (pid {one.get('pid')})"
    found = []
    fingerprint = wanted.fingerprints.get(host)
    if fingerprint and one.get("fingerprint") != fingerprint:
        found.append(f"{name} still runs settings {one.get('fingerprint')}, not {fingerprint}. Deploy again.")
    state, expected = one.get("state"), HOLDER if host == has else STANDBY
    if state != expected:
        found.append(f"{name} is {state}, and should be {expected}. Look at its log.")
    if one.get("trouble"):
        found.append(f"{name} is in trouble: {one['trouble']}.")
    if float(one.get("tick_age") or 0) > STALL_SECONDS:
        found.append(
            f"{name} has not ticked for {one['tick_age']:.0f} s, so it hangs. Restart it; its log shows "
            "where it was."
        )
    offset = float(one.get("clock_offset") or 0)
    if abs(offset) > wanted.clock_tolerance:
        way = "ahead of" if offset > 0 else "behind"
        found.append(
            f"The clock of {host} is {abs(offset):.1f} s {way} Redis' clock, and celery_clock_tolerance is "
            f"{wanted.clock_tolerance:g} s: what it sends comes at the wrong time. Set it by NTP "
            "(timedatectl set-ntp true)."
        )
    return found


def left_behind(report: Report, hosts: Iterable[str]) -> list[str]:
    """What Redis still knows of hosts that have left, one sentence each."""
    alive = {str(one["host"]): one for one in report.get("candidates", [])}
    found = []
    for host in hosts:
        if host in alive:
            found.append(
                f"The beat of {host} (pid {alive[host].get('pid')}) has not ended: it has entered itself "
                "again. Stop it there. If that host cannot be reached, pin beat on another one: what the "
                "others send is refused then."
            )
        elif holder(report) == host:
            found.append(f"{host} has the lease of beat and should not be able to.")
    return found


def touches(report: Report, hosts: Iterable[str]) -> bool:
    """Whether Redis knows anything of these hosts as beat's."""
    place = report.get("place")
    known = {str(one["host"]) for one in report.get("candidates", [])} | {holder(report)}
    return any(host in known or (place and place["host"] == host) for host in hosts)


def predicted(report: Report, place: Place) -> str:
    """Who would have the lease once beat's place is `place`."""
    fit = {str(one["host"]) for one in report.get("candidates", []) if one.get("fit", True)}
    if place and (place["mode"] == PINNED or place["host"] in fit):
        return place["host"]
    return holder(report)
