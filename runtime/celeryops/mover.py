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

from celeryops import moverules
from celeryops.moverules import Rules

BATCH = 200  # messages, fields or members at a time
LEASE_TTL = 15.0  # s
LEASE_PATIENCE = 20.0  # s; longer than a lease that nobody renews
PASSES = 6  # a producer that writes all the time would never let a pass find nothing
PAGE = 1000  # keys of one SCAN
OWN_NAME = "celeryops-move"  # of our own connections

# Whatever is taken: only under the lease, and only into an empty outbox.
_TAKE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('MOVE lease') end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if redis.call('EXISTS', KEYS[3]) == 1 then return redis.error_reply('MOVE outbox') end
local batch = {}
%s
if #batch == 0 then return 0 end
local seq = redis.call('HINCRBY', KEYS[4], 'seq', 1)
redis.call('RPUSH', KEYS[3], seq, ARGV[3], ARGV[4], ttl)
for _, item in ipairs(batch) do redis.call('RPUSH', KEYS[3], item) end
return #batch
"""
_TTL = "local ttl = redis.call('PTTL', KEYS[1])\n"
_TAKES = {
    "list": _TTL
    + """
batch = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[5]), -1)
if #batch > 0 then redis.call('LTRIM', KEYS[1], 0, -(#batch + 1)) end
""",
    "hash": _TTL
    + """
for i = 5, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    batch[#batch + 1] = ARGV[i]
    batch[#batch + 1] = value
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
""",
    "set": _TTL
    + """
for i = 5, #ARGV do
  if redis.call('SREM', KEYS[1], ARGV[i]) == 1 then batch[#batch + 1] = ARGV[i] end
end
""",
    "zset": _TTL
    + """
for i = 5, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score then
    batch[#batch + 1] = ARGV[i]
    batch[#batch + 1] = score
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
""",
    # Pairs of old and new name; a value and its own TTL for each.
    "string": """
local ttl = -1
for i = 5, #ARGV, 2 do
  local value = redis.call('GET', ARGV[i])
  if value then
    batch[#batch + 1] = ARGV[i + 1]
    batch[#batch + 1] = value
    batch[#batch + 1] = tostring(redis.call('PTTL', ARGV[i]))
    redis.call('DEL', ARGV[i])
  end
end
""",
    # A stream, or a type of a module: as the server itself packs it.
    "dump": _TTL
    + """
local value = redis.call('DUMP', KEYS[1])
if value then
  batch[1] = value
  redis.call('DEL', KEYS[1])
end
""",
}
_SCRIPTS = {kind: _TAKE % take for kind, take in _TAKES.items()}
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class MoveError(Exception):
    """The move cannot go on; the text says why and what to do."""


@dataclass
class Side:
    """One of the two places.

    Parameters:
        client: Redis client that adds no prefix by itself and answers in bytes.
        prefix: The broker's ``global_keyprefix``.
        fleet: The fleet's name there.
        label: The place in words, without a password; also how the mover's notes name it.
    """

    client: Any
    prefix: str
    fleet: str
    label: str

    def key(self, *parts: str) -> str:
        return self.prefix + ":".join(("celeryops", self.fleet, "move", *parts)).rstrip(":")


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
        self._scripts = {kind: old.client.register_script(text) for kind, text in _SCRIPTS.items()}

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
                if verb == moverules.COPY:
                    self._copy(kind, key, name)
                    count += 1
        return count

    def refuse_strangers(self) -> None:
        """Nobody can tell whose queues a database holds that several fleets share without prefixes."""
        if self.rules.only_books:
            return
        books = moverules.escape(self.new.prefix + moverules.BOOKS) + "*"
        there = Rules(old_prefix=self.new.prefix, old_fleet=self.new.fleet)
        for side, found in (
            (
                self.old,
                self.rules.strangers(
                    map(_text, self.old.client.scan_iter(match=self.rules.pattern, count=PAGE))
                ),
            ),
            (self.new, there.strangers(map(_text, self.new.client.scan_iter(match=books, count=PAGE)))),
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
            holder = _text(self.old.client.get(self.old.key("lease")) or b"")
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
        batch = self.old.client.lrange(self.old.key("outbox"), 0, -1)
        if not batch:
            return
        mark, goes_to = (_text(one or b"") for one in self.old.client.hmget(self.old.key(), "mark", "to"))
        side = self.new if goes_to == self.new.label else self.others.get(goes_to)
        if side is None:
            raise MoveError(
                f"an earlier move from {self.old.label} to {goes_to} was interrupted. Put that place back "
                "into celery_broker_url and deploy; when everything has arrived there, it can move on"
            )
        arrive(side, mark, batch, resumed=True)
        self.old.client.delete(self.old.key("outbox"))

    def _forget(self) -> None:
        """Nothing is left to come: no trace stays. A number whose mark is gone is harmless."""
        if self._is_alone:
            for page in self._pages():
                for verb, _, key, _ in page:
                    if verb == moverules.COPY:
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
                if verb == moverules.DROP:
                    self.old.client.unlink(key)
                elif verb == moverules.COPY:
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
            judged = [(key, *self.rules.judge(_text(key))) for key in keys]
            judged = [one for one in judged if one[1] != moverules.LEAVE]
            pipe = self.old.client.pipeline(transaction=False)
            for key, _, _ in judged:
                pipe.type(key)
            kinds = [_text(kind) for kind in pipe.execute()]
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
        old = self.old
        try:
            found = self._scripts[kind](
                keys=[key, old.key("lease"), old.key("outbox"), old.key()],
                args=[self._token, int(LEASE_TTL * 1000), kind, _bytes(name), *map(_bytes, what)],
            )
        except redis.ResponseError as exc:
            if "MOVE" in str(exc):
                raise MoveError("another run has taken this move over; it goes on there") from exc
            raise
        if not found:
            return []
        batch: list[bytes] = old.client.lrange(old.key("outbox"), 0, -1)
        arrive(self.new, self._mark, batch)
        old.client.delete(old.key("outbox"))
        self.report.keys.add(name or _text(key))
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
                _restore(self.new, name, max(ttl, 0), packed)
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


def note(old: Side, goes_to: str, afresh: bool = False) -> str:
    """Mark the old place as one that moves there; returns the mark, which is kept as long as the goal is."""
    mark, goal = (_text(one or b"") for one in old.client.hmget(old.key(), "mark", "to"))
    if mark and goal == goes_to and not afresh:
        return mark
    mark = uuid.uuid4().hex
    pipe = old.client.pipeline()
    pipe.delete(old.key())
    pipe.hset(old.key(), mapping={"mark": mark, "from": old.label, "to": goes_to, "seq": 0})
    pipe.execute()
    return mark


def arrive(side: Side, mark: str, outbox: list[bytes], resumed: bool = False) -> None:
    """Apply a batch, unless it has arrived before.

    Parameters:
        resumed: The batch was found in the outbox. A place that knows no number of it was emptied since.
    """
    seq, kind, name, ttl = int(outbox[0]), _text(outbox[1]), _text(outbox[2]), int(outbox[3])
    number = side.key("in", mark)
    with side.client.pipeline() as pipe:
        pipe.watch(number)
        last = int(pipe.get(number) or 0)
        if last == seq:
            return
        if last != seq - 1 and not (resumed and last == 0):
            raise MoveError(
                f"{side.label} has seen batch {last} of this move, and {seq} is next: it was set back to an "
                "older state, or another run has gone on. Nothing is lost; deploy again"
            )
        exists = bool(name) and kind != "list" and pipe.exists(name)
        pipe.multi()
        _apply(pipe, side, kind, name, ttl, outbox[4:])
        if ttl > 0 and kind in ("hash", "set", "zset") and not exists:
            pipe.pexpire(name, ttl)
        pipe.set(number, seq)
        try:
            pipe.execute()
        except redis.WatchError as exc:
            raise MoveError("another run has taken this move over; it goes on there") from exc


def _apply(pipe: Any, side: Side, kind: str, name: str, ttl: int, items: list[bytes]) -> None:
    key = _bytes(name)
    if kind == "list" and ttl > 0:  # somebody's short-lived answers, not a queue
        pipe.rpush(key, *items)
        pipe.pexpire(key, ttl)
    elif kind == "list":
        pipe.lpush(_bytes(side.key("staged")) + b":" + key, *reversed(items))
    elif kind == "hash":
        for field_name, value in zip(items[::2], items[1::2], strict=True):
            pipe.hsetnx(key, field_name, value)
    elif kind == "set":
        pipe.sadd(key, *items)
    elif kind == "zset":
        pipe.zadd(key, dict(zip(items[::2], map(float, items[1::2]), strict=True)), nx=True)
    elif kind == "string":
        for own, value, left in zip(items[::3], items[1::3], items[2::3], strict=True):
            pipe.set(own, value, nx=True, px=int(left) if int(left) > 0 else None)
    else:
        _restore(Side(pipe, side.prefix, side.fleet, side.label), name, max(ttl, 0), items[0])


def _restore(side: Side, name: str, ttl: int, packed: bytes) -> None:
    try:
        side.client.restore(_bytes(name), ttl, packed)
    except redis.ResponseError as exc:
        raise MoveError(
            f"{side.label} does not take {name}: {exc}. It is no list, hash, set, sorted set or string, so "
            "the new server must read the old one's own format: run there a version as new as the old"
        ) from exc


def unstage(side: Side) -> None:
    """Put the messages that have come at the front of their queues, in their order."""
    prefix = _bytes(side.key("staged")) + b":"
    for staged in side.client.scan_iter(match=moverules.escape(_text(prefix)) + "*", count=PAGE):
        while side.client.exists(staged):
            pipe = side.client.pipeline(transaction=False)
            for _ in range(BATCH):
                pipe.lmove(staged, staged[len(prefix) :], "LEFT", "RIGHT")
            pipe.execute()


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


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _bytes(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
