"""Which keys belong to a fleet that moves, and what they are called where it goes. Pure: no Redis.

A fleet owns its broker's whole database, or, with a ``global_keyprefix``, what stands behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TAKE = "take"  # belongs to the fleet alone: it goes over, nothing stays
COPY = "copy"  # others may still need it where it is
DROP = "drop"  # of no use to anybody once the fleet has moved
LEAVE = "leave"  # somebody else's, or the mover's own notes

BINDINGS = "_kombu.binding"
RESULTS = ("celery-task-meta-", "celery-taskset-meta-", "chord-unlock-")
BOOKS = "celeryops:"

_RECORDS = ("nodes", "beat:lease", "beat:candidates")
_FLEET = re.compile(r"celeryops:([^:]+):")


@dataclass(frozen=True)
class Rules:
    """From one place to another.

    Parameters:
        old_prefix, new_prefix: The broker's ``global_keyprefix`` here and there.
        old_fleet, new_fleet: The fleet's name here and there.
        same_database: Whether both places are one database.
        results: Prefixes of results that stand in the old database outside of `old_prefix`, here and there;
            None when there are none. They are copied: nobody can tell whose they are, and they expire.
    """

    old_prefix: str = ""
    new_prefix: str = ""
    old_fleet: str = ""
    new_fleet: str = ""
    same_database: bool = False
    results: tuple[str, str] | None = None

    @property
    def only_books(self) -> bool:
        """Nothing but the name changes."""
        return self.same_database and self.old_prefix == self.new_prefix

    @property
    def nothing_to_do(self) -> bool:
        return self.only_books and self.old_fleet == self.new_fleet

    @property
    def pattern(self) -> str:
        """What SCAN shall look for."""
        if self.results is not None:
            return "*"
        return escape(self.old_prefix) + (f"{BOOKS}{escape(self.old_fleet)}:*" if self.only_books else "*")

    def judge(self, key: str) -> tuple[str, str]:
        """What to do with a key, and its name in the new place."""
        if self._is_there_already(key):
            return LEAVE, ""
        if not key.startswith(self.old_prefix):
            return self._result(key)
        rest = key[len(self.old_prefix) :]
        own = f"{BOOKS}{self.old_fleet}:"
        if rest.startswith(own):
            return self._of_books(rest[len(own) :])
        if rest.startswith(BOOKS) or self.only_books:
            return LEAVE, ""
        if rest == "unacked_mutex":  # a lock of at most five minutes
            return DROP, ""
        # Without its bindings a producer that still writes here would lose its messages silently.
        return COPY if rest.startswith(BINDINGS) else TAKE, self.new_prefix + rest

    def strangers(self, keys: Iterable[str]) -> list[str]:
        """Names of other fleets whose records are among what this one would take along."""
        found = set()
        for key in keys:
            if not key.startswith(self.old_prefix) or self._is_there_already(key):
                continue
            for name in _FLEET.findall(key):
                if not key.startswith(f"{self.old_prefix}{BOOKS}{self.old_fleet}:"):
                    found.add(name)
        return sorted(found)

    def _is_there_already(self, key: str) -> bool:
        inside = self.new_prefix != self.old_prefix and self.new_prefix.startswith(self.old_prefix)
        return self.same_database and inside and key.startswith(self.new_prefix)

    def _of_books(self, name: str) -> tuple[str, str]:
        if name == "move" or name.startswith("move:"):
            return LEAVE, ""
        # Every node and every candidate of beat writes its own record anew; ledger and epoch go along.
        if name in _RECORDS or name.startswith(("node:", "canary:", "beat:candidate:")):
            return DROP, ""
        return TAKE, f"{self.new_prefix}{BOOKS}{self.new_fleet}:{name}"

    def _result(self, key: str) -> tuple[str, str]:
        if self.results is not None:
            old, new = self.results
            if key.startswith(tuple(old + kind for kind in RESULTS)):
                return COPY, new + key[len(old) :]
        return LEAVE, ""


def result_prefix(prefix: str) -> str:
    """The prefix of result keys, as Celery makes it of ``global_keyprefix``."""
    return prefix + "_" if prefix and prefix[-1] not in ":_-." else prefix


def escape(text: str) -> str:
    """A text that SCAN's MATCH takes literally."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
