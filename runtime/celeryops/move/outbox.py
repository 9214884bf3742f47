"""The old side's part: cut a batch out of its key into the outbox, in one step."""

from __future__ import annotations

from typing import Any

import redis

from celeryops.move.place import MoveError, Side, raw

LEASE_TTL = 15.0  # s

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


class Outbox:
    """The outbox of the old side.

    Parameters:
        old: The old side.
        token: Of the lease under which batches may be taken.
    """

    def __init__(self, old: Side, token: str) -> None:
        self._old = old
        self._token = token
        self._scripts = {kind: old.client.register_script(text) for kind, text in _SCRIPTS.items()}

    def fill(self, kind: str, key: bytes, name: str, what: list[Any]) -> bool:
        """Take one batch out of `key`; whether there was anything.

        Raises:
            MoveError: The lease is somebody else's.
        """
        old = self._old
        try:
            found = self._scripts[kind](
                keys=[key, old.key("lease"), old.key("outbox"), old.key()],
                args=[self._token, int(LEASE_TTL * 1000), kind, raw(name), *map(raw, what)],
            )
        except redis.ResponseError as exc:
            if "MOVE" in str(exc):
                raise MoveError("another run has taken this move over; it goes on there") from exc
            raise
        return bool(found)

    def read(self) -> list[bytes]:
        return self._old.client.lrange(self._old.key("outbox"), 0, -1)

    def clear(self) -> None:
        self._old.client.delete(self._old.key("outbox"))
