# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose server is it? Before one is stopped, see who else lives there."""

from __future__ import annotations

import re
from typing import Iterable, Iterator, Mapping

from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import Redis

# A fleet's book of hosts, and the records of its processes, which vanish soon after them.
_TENANT = re.compile(r"celeryops:([a-z][a-z0-9-]*):(?:hosts|node:.+)\Z", re.DOTALL)
# What a move to another server or name notes for itself; it expires.
_NOTE = re.compile(r"celeryops:[a-z][a-z0-9-]*:move(?::|\Z)")
_BATCH = 1000  # keys that one SCAN looks at


def glob_escaped(text: str) -> str:
    """Text that stands for itself in a pattern of Redis."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def scan(redis: Redis, pattern: str) -> Iterator[str]:
    """The keys of the chosen database that fit."""
    cursor = "0"
    while True:
        cursor, found = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        yield from found
        if cursor == "0":
            return


def databases(info: Mapping[str, str]) -> list[int]:
    """Those that hold keys, of what INFO says."""
    return sorted(int(name[2:]) for name in info if name.startswith("db") and name[2:].isdigit())


def fleets_of(keys: Iterable[str]) -> set[str]:
    return {match.group(1) for match in map(_TENANT.search, keys) if match}


def other_fleets(redis: Redis, fleet: str) -> list[str]:
    """The other fleets that live on this server, each with its database."""
    found = []
    for number in databases(redis.info()):
        redis.call("SELECT", number)
        names = fleets_of(scan(redis, "*celeryops:*")) - {fleet}
        found += [f"{name} (database {number})" for name in sorted(names)]
    return found


def is_record_of(key: str, fleet: str) -> bool:
    """Whether a key is what the fleet keeps about itself, or what any move has noted."""
    return bool(_NOTE.search(key)) or re.search(rf"celeryops:{re.escape(fleet)}:", key) is not None


def is_empty_without(redis: Redis, fleet: str) -> bool:
    """Whether nothing is on this server but what the fleet keeps about itself."""
    for number in databases(redis.info()):
        redis.call("SELECT", number)
        own = {key for key in scan(redis, "*celeryops:*") if is_record_of(key, fleet)}
        if redis.call("DBSIZE") > len(own):
            return False
    return True
