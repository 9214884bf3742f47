# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a fleet is on, by its own book, and who of them leaves, is lost or is in the way.

    celeryops:<fleet>:hosts    hash, inventory name -> {"roles": [role], "machine": id, "opt_dir": path}

A role is entered before anything of it is put on a host, and struck out after the last of it was removed
there. So a run that broke off leaves a book that names too much, never too little.
"""

from __future__ import annotations

import json
from typing import Collection, Dict, Mapping, NamedTuple

REDIS = "redis"
WORKER = "worker"
BEAT = "beat"
FLOWER = "flower"
_OTHER = "another celery_app_name, or another database in celery_broker_url"

ROLES = (REDIS, WORKER, BEAT, FLOWER)

_FORMER = {"standby": BEAT}
"""Roles as earlier versions wrote them: a host that could run beat and did not."""


class Place(NamedTuple):
    """Where on earth an inventory name is. Empty is not known."""

    machine: str = ""
    opt_dir: str = ""


class Entry(NamedTuple):
    """What the book says of one host."""

    roles: frozenset[str]
    place: Place = Place()


Book = Dict[str, Entry]
Members = Mapping[str, Collection[str]]
"""host -> roles"""


def key(fleet: str, prefix: str = "") -> str:
    return f"{prefix}celeryops:{fleet}:hosts"


def members(groups: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """host -> roles, of role -> hosts."""
    hosts = {host for names in groups.values() for host in names}
    return {
        host: frozenset(role for role, names in groups.items() if host in names) for host in sorted(hosts)
    }


def parse(raw: Mapping[str, str]) -> Book:
    """The book as Redis holds it. An entry that cannot be read is one without roles: somebody is there."""
    book = {}
    for host, text in raw.items():
        try:
            entry = json.loads(text)
            book[host] = Entry(
                frozenset(_FORMER.get(str(role), str(role)) for role in entry["roles"]),
                Place(str(entry.get("machine", "")), str(entry.get("opt_dir", ""))),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            book[host] = Entry(frozenset())
    return book


def text_of(entry: Entry) -> str:
    known = {name: value for name, value in entry.place._asdict().items() if value}
    return json.dumps({"roles": sorted(entry.roles), **known}, sort_keys=True)


def merged(books: Collection[Book]) -> Book:
    """One book of several: the first that knows a host's place is right about it."""
    result: Book = {}
    for book in books:
        for host, entry in book.items():
            old = result.get(host, Entry(frozenset()))
            result[host] = Entry(old.roles | entry.roles, old.place if any(old.place) else entry.place)
    return result


class Judgement(NamedTuple):
    """What the book, held against the inventory, asks for."""

    leaving: dict[str, list[str]]
    """host -> the roles it has by the book and not by the inventory, for hosts of the inventory."""
    lost: dict[str, list[str]]
    """host -> roles, for hosts that the inventory does not name."""


def judge(book: Book, wanted: Members, inventory: Collection[str], forget: Collection[str] = ()) -> Judgement:
    leaving = {}
    lost = {}
    for host, entry in sorted(book.items()):
        if host in forget and host not in wanted:
            continue
        if host not in inventory:
            lost[host] = _sorted(entry.roles)
            continue
        gone = entry.roles - frozenset(wanted.get(host, ()))
        if gone or (not entry.roles and host not in wanted):
            leaving[host] = _sorted(gone)
    return Judgement(leaving, lost)


def problems(
    fleet: str,
    book: Book,
    judgement: Judgement,
    places: Mapping[str, Place],
    alive: Collection[str] = (),
    forget: Collection[str] = (),
) -> list[str]:
    """Every reason not to touch anything, as sentences. alive: hosts whose processes report themselves."""
    found = []
    if judgement.lost:
        names = json.dumps(sorted(judgement.lost))
        found.append(
            f"By its book in Redis the fleet {fleet} is also on {_listed(judgement.lost)}, which this "
            "inventory does not name. Either another inventory deploys a fleet of the same name to the same "
            f"Redis: give this one {_OTHER}. Or the host was dropped while the fleet is still on it: put it "
            "back into the inventory, outside the groups, and deploy, which removes the fleet from it. Or it "
            "is gone for good: say so once with "
            f"-e '{{\"celery_forget_hosts\": {names}}}'."
        )
    for host, place in sorted(places.items()):
        before = book.get(host, Entry(frozenset())).place
        if host in forget:
            continue
        if place.opt_dir and before.opt_dir and place.opt_dir != before.opt_dir:
            found.append(
                f"By its book in Redis the fleet {fleet} is on {host} under {before.opt_dir}, and the "
                f"inventory says {place.opt_dir}. If another inventory calls a host {host} too, give one of "
                f"the two fleets {_OTHER}. To move the fleet on the host, tear it down there first, with "
                f"the old value: playbooks/teardown.yml --limit {host}."
            )
        elif place.machine and before.machine and place.machine != before.machine and host in alive:
            found.append(
                f"By its book in Redis the fleet {fleet} is on another machine that is called {host}, and "
                "processes report themselves from there right now. If another inventory calls a host so too, "
                f"give one of the two fleets {_OTHER}. If the machine is replaced, stop the old one first; "
                "its records vanish 20 seconds later."
            )
    return found


def older_beats(older: Collection[str], starts: Collection[str], visible: Collection[str]) -> list[str]:
    """Why no beat may be started, as sentences.

    older: hosts whose beat knows no lease. starts: hosts on which the run starts one.
    """
    return [
        f"{host} has a beat of an older release, which knows no lease, and --limit hides {host}: beside the "
        f"beat of {', '.join(sorted(starts))} every scheduled task would be sent twice. Deploy to both, or "
        "to all."
        for host in sorted(older)
        if starts and host not in visible
    ]


def joined(
    book: Book,
    wanted: Members,
    visible: Collection[str],
    places: Mapping[str, Place],
    forget: Collection[str] = (),
) -> Book:
    """The book before anything is put on a host. What the run cannot see stays as it is."""
    result = {host: entry for host, entry in book.items() if host in wanted or host not in forget}
    for host, roles in wanted.items():
        if host in visible:
            old = Entry(frozenset()) if host in forget else book.get(host, Entry(frozenset()))
            place = places.get(host, Place())
            result[host] = Entry(old.roles | frozenset(roles), place if any(place) else old.place)
    return result


def settled(book: Book, wanted: Members, hosts: Collection[str]) -> Book:
    """The book after everything that is not wanted was removed from these hosts."""
    result = dict(book)
    for host in hosts:
        roles = frozenset(wanted.get(host, ()))
        if not roles:
            result.pop(host, None)
        elif host in result:
            result[host] = result[host]._replace(roles=result[host].roles & roles)
    return result


def lines(book: Book) -> str:
    """The book for a diff."""
    return "".join(f"{host}: {', '.join(_sorted(entry.roles))}\n" for host, entry in sorted(book.items()))


def _sorted(roles: Collection[str]) -> list[str]:
    """In the order of ROLES, what is not known last."""
    return sorted(roles, key=lambda role: (ROLES.index(role) if role in ROLES else len(ROLES), role))


def _listed(hosts: Mapping[str, Collection[str]]) -> str:
    return ", ".join(f"{host} ({', '.join(roles) or 'unknown'})" for host, roles in sorted(hosts.items()))
