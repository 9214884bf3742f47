# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the book of hosts in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.hosts import book as hostbook
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import Redis
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.tenants import glob_escaped, scan


class Store:
    """The book of one fleet on one broker."""

    def __init__(self, redis: Redis, fleet: str, prefix: str) -> None:
        self.redis = redis
        self.fleet = fleet
        self.prefix = prefix
        self.key = hostbook.key(fleet, prefix)

    def read(self) -> hostbook.Book:
        flat: list[str] = self.redis.call("HGETALL", self.key)
        return hostbook.parse(dict(zip(flat[::2], flat[1::2])))

    def write(self, old: hostbook.Book, new: hostbook.Book) -> None:
        """Only what differs: another run may write about other hosts at the same time."""
        for host in sorted({*old, *new}):
            if host not in new:
                self.redis.call("HDEL", self.key, host)
            elif old.get(host) != new[host]:
                self.redis.call("HSET", self.key, host, hostbook.text_of(new[host]))

    def purge(self) -> None:
        """Forget everything that the fleet keeps about itself."""
        pattern = glob_escaped(f"{self.prefix}celeryops:{self.fleet}:") + "*"
        for key in scan(self.redis, pattern):
            self.redis.call("DEL", key)

    def alive(self) -> set[str]:
        """The hosts whose nodes or beats keep a record right now; it vanishes soon after they do."""
        return {str(record["host"]) for record in self._records()}

    def without_lease(self) -> set[str]:
        """The hosts whose beat sends without asking for a lease."""
        return {
            str(record["host"])
            for record in self._records()
            if record.get("kind") == "beat" and not record.get("lease")
        }

    def _records(self) -> Iterator[dict[str, Any]]:
        start = f"{self.prefix}celeryops:{self.fleet}:node"
        for name in self.redis.call("ZRANGE", f"{start}s", 0, -1):
            text = self.redis.call("GET", f"{start}:{name}")
            try:
                record = json.loads(text)
                record["host"]
            except (TypeError, ValueError, KeyError):
                continue
            yield record
