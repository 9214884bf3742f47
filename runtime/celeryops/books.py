"""The fleet's books in Redis: one small record with a TTL for each node and each beat.

Keys, all behind the application's ``global_keyprefix``:
    celeryops:<fleet>:node:<node>   the record, JSON
    celeryops:<fleet>:nodes         sorted set of node names by the time of their last record
"""

from __future__ import annotations

import json
from typing import Any

from celeryops.redisclient import close, connect

RECORD_TTL = 20  # s; four missed records
FORGET_AFTER = 86400  # s

# The age comes from the TTL that is left, so the clocks of the hosts need not agree.
_READ = """
local out = {redis.call('TIME')[1]}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. name
  local record = redis.call('GET', key)
  if record then
    out[#out + 1] = record
    out[#out + 1] = redis.call('PTTL', key)
  end
end
return out
"""

# A successor with the same name may already have written its own record.
_REMOVE = """
local record = redis.call('GET', KEYS[1])
if record and cjson.decode(record).pid == tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
return 0
"""


class Books:
    """The books of one fleet.

    Parameters:
        client: Redis client that adds no prefix by itself.
        prefix: The application's ``global_keyprefix``.
        fleet: Name of the fleet.
    """

    def __init__(self, client: Any, prefix: str, fleet: str) -> None:
        self.client = client
        self.prefix = prefix
        self.fleet = fleet

    @classmethod
    def open(cls, app: Any, fleet: str) -> Books:
        client, prefix = connect(app)
        return cls(client, prefix, fleet)

    def close(self) -> None:
        close(self.client)

    def key(self, *parts: str) -> str:
        return self.prefix + ":".join(("celeryops", self.fleet, *parts))

    def publish(self, record: dict[str, Any]) -> None:
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set(
            self.key("node", record["node"]), json.dumps(record, separators=(",", ":")), ex=RECORD_TTL
        )
        pipeline.zadd(self.key("nodes"), {record["node"]: record["heartbeat"]})
        pipeline.zremrangebyscore(self.key("nodes"), "-inf", record["heartbeat"] - FORGET_AFTER)
        pipeline.execute()

    def remove(self, node: str, pid: int) -> None:
        self.client.eval(_REMOVE, 2, self.key("node", node), self.key("nodes"), node, pid)

    def read(self) -> dict[str, Any]:
        """Every living record, in one round trip: ``{"fleet", "now", "nodes": [...], "beats": [...]}``."""
        now, *rest = self.client.eval(_READ, 1, self.key("nodes"), self.key("node") + ":")
        records = []
        for text, left in zip(rest[::2], rest[1::2], strict=True):
            record = json.loads(text)
            record["age"] = round(max(0.0, RECORD_TTL - int(left) / 1000), 1)
            records.append(record)
        records.sort(key=lambda record: (record["pool"], record["node"]))
        return {
            "fleet": self.fleet,
            "now": int(now),
            "nodes": [record for record in records if record["kind"] == "worker"],
            "beats": [record for record in records if record["kind"] == "beat"],
        }
