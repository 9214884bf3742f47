"""Take a fleet's keys from one Redis to another, exactly once, however often it is interrupted.

A batch is first cut out of its key into an outbox, in one step on the old server. Then it is applied on the
new one, in one step with its number. Then the outbox is emptied. Whoever finds a full outbox asks the new
server for the last number: it tells whether the batch has arrived.

Keys, behind the prefix, on the old side:
    celeryops:<fleet>:move          hash: mark, from, to, seq (the number of the last batch)
    celeryops:<fleet>:move:outbox   list: seq, kind, new key, TTL, then the batch
    celeryops:<fleet>:move:lease    who moves, with a TTL
and on the new side:
    celeryops:<fleet>:move:in:<mark>      number of the last batch that arrived
    celeryops:<fleet>:move:staged:<key>   messages that wait until the last of their queue has come

Messages are staged because a producer may still write to the old queue: what it adds is newer than what has
gone, and must stand behind it, but in front of what others have sent to the new place by then.

The lease only keeps two movers from getting in each other's way. One that lost it without noticing can do no
harm: the old side checks the lease with every batch, the new side that the numbers follow each other.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from celeryops.move import rules as verbs
from celeryops.move.arrival import arrive, restore, unstage
from celeryops.move.outbox import LEASE_TTL, Outbox
from celeryops.move.place import BATCH, OWN_NAME, PAGE, MoveError, Side, note, text
from celeryops.move.rules import Rules

LEASE_PATIENCE = 20.0  # s; longer than a lease that nobody renews
PASSES = 6  # a producer that writes all the time would never let a pass find nothing
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass
class Report:
    """What a run did."""

    messages: int = 0
    keys: set[str] = field(default_factory=set)
    passes: int = 0
    late: Counter[str] = field(default_factory=Counter)
    clients: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "keys": len(self.keys),
            "passes": self.passes,
            "late": sum(self.late.values()),
            "producers": sorted(name for name in self.late if name),
            "clients": self.clients,
        }


class Mover:
    """Moves what `rules` name from `old` to `new`.

    Parameters:
        others: Further places by their label, to finish what an earlier move to one of them has begun.
    """

    def __init__(self, old: Side, new: Side, rules: Rules, others: Iterable[Side] = ()) -> None:
        self.old = old
        self.new = new
        self.rules = rules
        self.others = {side.label: side for side in others}
        self.report = Report()
        self._token = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._mark = ""
        self._outbox = Outbox(old, self._token)

    def run(self, sweep: bool = False) -> Report:
        """Move everything; when `sweep`, everything that is found has come too late."""
        self.refuse_strangers()
        self._take_lease()
        try:
            unstage(self.old)
            self._finish_outbox()
            self._begin_chain()
            for number in range(PASSES):
                before = self._taken
                self._pass(late=sweep or number > 0)
                self.report.passes += 1
                if self._taken == before:
                    break
            unstage(self.new)
            if self.rules.only_books:
                self._forget()
            elif sweep:
                self.report.clients = self._clients()
                if not self.report.late and not self.report.clients:
                    self._forget()
        finally:
            self.old.client.eval(_RELEASE, 1, self.old.key("lease"), self._token)
        return self.report

    def copy(self) -> int:
        """Only copy what the rules say is to be copied; returns the number of keys."""
        count = 0
        for page in self._pages():
            for verb, kind, key, name in page:
                if verb == verbs.COPY:
                    self._copy(kind, key, name)
                    count += 1
        return count

    def refuse_strangers(self) -> None:
        """Nobody can tell whose queues a database holds that several fleets share without prefixes."""
        if self.rules.only_books:
            return
        books = verbs.escape(self.new.prefix + verbs.BOOKS) + "*"
        there = Rules(old_prefix=self.new.prefix, old_fleet=self.new.fleet)
        for side, found in (
            (
                self.old,
                self.rules.strangers(
                    map(text, self.old.client.scan_iter(match=self.rules.pattern, count=PAGE))
                ),
            ),
            (self.new, there.strangers(map(text, self.new.client.scan_iter(match=books, count=PAGE)))),
        ):
            found = [name for name in found if name not in (self.old.fleet, self.new.fleet)]
            if found:
                raise MoveError(
                    f"{side.label} also holds records of {', '.join(found)}, and without a prefix of its own "
                    f"nobody can tell which queues are {self.new.fleet}'s. Give every fleet a database or a "
                    "global_keyprefix of its own (celery_settings.broker_transport_options); if such a fleet "
                    f"is long gone, delete its keys celeryops:{found[0]}:*"
                )

    # -- the lease and the chain of numbers ---------------------------------------------------------

    def _take_lease(self) -> None:
        deadline = time.monotonic() + LEASE_PATIENCE
        while not self.old.client.set(self.old.key("lease"), self._token, nx=True, px=int(LEASE_TTL * 1000)):
            holder = text(self.old.client.get(self.old.key("lease")) or b"")
            if holder and _is_dead(holder):
                self.old.client.eval(_RELEASE, 1, self.old.key("lease"), holder)
            elif time.monotonic() > deadline:
                raise MoveError(
                    f"process {holder.rpartition(':')[0]} moves this fleet already: wait until it has ended"
                )
            else:
                time.sleep(0.2)

    def _begin_chain(self) -> None:
        """Go on with the numbers of an earlier run to the same place, else start anew."""
        self._mark = note(self.old, self.new.label)
        arrived = int(self.new.client.get(self.new.key("in", self._mark)) or 0)
        if arrived != self._taken:  # the new place was emptied in between
            self._mark = note(self.old, self.new.label, afresh=True)

    def _finish_outbox(self) -> None:
        batch = self._outbox.read()
        if not batch:
            return
        mark, goes_to = (text(one or b"") for one in self.old.client.hmget(self.old.key(), "mark", "to"))
        side = self.new if goes_to == self.new.label else self.others.get(goes_to)
        if side is None:
            raise MoveError(
                f"an earlier move from {self.old.label} to {goes_to} was interrupted. Put that place back "
                "into celery_broker_url and deploy; when everything has arrived there, it can move on"
            )
        arrive(side, mark, batch, resumed=True)
        self._outbox.clear()

    def _forget(self) -> None:
        """Nothing is left to come: no trace stays. A number whose mark is gone is harmless."""
        if self._is_alone:
            for page in self._pages():
                for verb, _, key, _ in page:
                    if verb == verbs.COPY:
                        self.old.client.unlink(key)
        self.old.client.delete(self.old.key())
        self.new.client.delete(self.new.key("in", self._mark))

    @property
    def _is_alone(self) -> bool:
        """Whether all that is in the old database is, or was, the fleet's."""
        return not self.old.prefix and not self.rules.same_database

    # -- a pass over the keys -----------------------------------------------------------------------

    @property
    def _taken(self) -> int:
        return int(self.old.client.hget(self.old.key(), "seq") or 0)

    def _pass(self, late: bool) -> None:
        index: list[tuple[str, bytes, str]] = []
        for page in self._pages():
            strings: list[tuple[bytes, str]] = []
            for verb, kind, key, name in page:
                if verb == verbs.DROP:
                    self.old.client.unlink(key)
                elif verb == verbs.COPY:
                    self._copy(kind, key, name)
                elif kind == "string":
                    strings.append((key, name))
                elif kind == "zset":
                    index.append((kind, key, name))
                else:
                    self._move(kind, key, name, late)
            for start in range(0, len(strings), BATCH):
                self._move_strings(strings[start : start + BATCH])
        # A worker drops what stands in the index of unacknowledged messages without a message.
        for kind, key, name in index:
            self._move(kind, key, name, late)

    def _pages(self) -> Iterator[list[tuple[str, str, bytes, str]]]:
        cursor = 0
        while True:
            cursor, keys = self.old.client.scan(cursor, match=self.rules.pattern, count=PAGE)
            judged = [(key, *self.rules.judge(text(key))) for key in keys]
            judged = [one for one in judged if one[1] != verbs.LEAVE]
            pipe = self.old.client.pipeline(transaction=False)
            for key, _, _ in judged:
                pipe.type(key)
            kinds = [text(kind) for kind in pipe.execute()]
            yield [
                (verb, kind, key, name)
                for (key, verb, name), kind in zip(judged, kinds, strict=True)
                if kind != "none"
            ]
            if not cursor:
                return

    def _move(self, kind: str, key: bytes, name: str, late: bool) -> None:
        client = self.old.client
        if kind == "list":
            while batch := self._take("list", key, name, [BATCH]):
                self.report.messages += len(batch) - 4
                if late:
                    self.report.late.update(map(origin, batch[4:]))
        elif kind in ("hash", "set", "zset"):
            scan = {"hash": client.hscan, "set": client.sscan, "zset": client.zscan}[kind]
            cursor = 0
            while True:
                cursor, page = scan(key, cursor, count=BATCH)
                names = [one[0] if kind == "zset" else one for one in page]
                for start in range(0, len(names), BATCH):
                    self._take(kind, key, name, names[start : start + BATCH])
                if not cursor:
                    break
        else:
            self._take("dump", key, name, [])

    def _move_strings(self, pairs: list[tuple[bytes, str]]) -> None:
        if pairs:
            self._take("string", pairs[0][0], "", [one for pair in pairs for one in pair])

    def _take(self, kind: str, key: bytes, name: str, what: list[Any]) -> list[bytes]:
        """Take one batch over; returns the outbox as it was, empty when there was nothing to take."""
        if not self._outbox.fill(kind, key, name, what):
            return []
        batch = self._outbox.read()
        arrive(self.new, self._mark, batch)
        self._outbox.clear()
        self.report.keys.add(name or text(key))
        return batch

    def _copy(self, kind: str, key: bytes, name: str) -> None:
        """Leaves the original. May be done again and again."""
        client, pipe = self.old.client, self.new.client.pipeline()
        ttl = client.pttl(key)
        if kind == "string":
            value = client.get(key)
            if value is not None:
                pipe.set(name, value, nx=True, px=ttl if ttl > 0 else None)
        elif kind == "set":
            pipe.sadd(name, *(client.smembers(key) or [b""]))
        elif kind == "zset":
            pipe.zadd(name, dict(client.zrange(key, 0, -1, withscores=True)) or {b"": 0.0}, nx=True)
        elif kind == "hash":
            for name_of, value in client.hgetall(key).items():
                pipe.hsetnx(name, name_of, value)
        elif not self.new.client.exists(name):
            packed = client.dump(key)
            if packed is not None:
                restore(self.new, name, max(ttl, 0), packed)
        if kind != "string" and ttl > 0:
            pipe.pexpire(name, ttl)
        pipe.execute()

    def _clients(self) -> list[str]:
        """Who else is connected to the old database; empty where others share it and nobody can tell."""
        if not self._is_alone:
            return []
        client = self.old.client
        database = str(client.connection_pool.connection_kwargs.get("db") or 0)
        try:
            everybody = client.client_list()
        except redis.ResponseError:
            return []
        return sorted(
            f"{one['addr']}" + (f" ({one['name']})" if one.get("name") else "")
            for one in everybody
            if one.get("db") == database and one.get("name") != OWN_NAME
        )


def origin(message: bytes) -> str:
    """The process that sent a message, such as ``4711@web1``; empty when it does not say."""
    try:
        # Celery writes gen4711@web1.
        return str(json.loads(message)["headers"]["origin"]).removeprefix("gen")
    except (ValueError, KeyError, TypeError):
        return ""


def _is_dead(token: str) -> bool:
    """Whether a lease is that of a process of this machine that has ended."""
    host, _, rest = token.partition(":")
    pid = rest.partition(":")[0]
    return host == socket.gethostname() and pid.isdigit() and not os.path.exists(f"/proc/{pid}")
