"""Is this Redis fit to be Celery's broker? The judgement is pure; collecting is one round trip."""

from __future__ import annotations

from typing import Any

MIN_VERSION = (6, 2)  # kombu uses ZRANGE BYSCORE REV
NEARLY_FULL = 0.85  # of maxmemory
ERROR, WARNING = "error", "warning"


def collect(client: Any) -> dict[str, Any]:
    """What INFO says, in the words of this collection."""
    info = client.info()
    return {
        "server": "valkey" if info.get("server_name") == "valkey" else "redis",
        "version": str(info.get("valkey_version") or info.get("redis_version", "")),
        "compatible_version": str(info.get("redis_version", "")),
        "role": info.get("role", ""),
        "cluster_enabled": bool(info.get("cluster_enabled") or info.get("redis_mode") == "cluster"),
        "eviction_policy": info.get("maxmemory_policy", ""),
        "used_memory": int(info.get("used_memory", 0)),
        "maxmemory": int(info.get("maxmemory", 0)),
        "evicted_keys": int(info.get("evicted_keys", 0)),
        "aof_enabled": bool(info.get("aof_enabled")),
        "aof_ok": info.get("aof_last_write_status", "ok") == "ok",
        "rdb_enabled": _rdb_enabled(client),
        "rdb_ok": info.get("rdb_last_bgsave_status", "ok") == "ok",
        "connected_clients": int(info.get("connected_clients", 0)),
        "rejected_connections": int(info.get("rejected_connections", 0)),
    }


def judge(facts: dict[str, Any]) -> list[dict[str, str]]:
    """The problems of a broker, worst first; ``error`` means that Celery cannot work on it safely."""
    errors, warnings = [], []
    version = tuple(int(part) for part in facts["compatible_version"].split(".")[:2] if part.isdigit())
    if version < MIN_VERSION:
        errors.append(
            f"Redis {facts['version'] or '(unknown)'} is too old: "
            "kombu needs 6.2 or later; upgrade the server"
        )
    if facts["cluster_enabled"]:
        errors.append(
            "this is a Redis Cluster: kombu's commands on several keys fail there; "
            "use a standalone Redis or Sentinel"
        )
    policy = facts["eviction_policy"]
    if policy and policy != "noeviction" and not policy.startswith("volatile-"):
        errors.append(
            f"maxmemory-policy {policy} lets Redis drop queued tasks when memory is full; set noeviction"
        )
    if facts["role"] not in ("", "master"):
        errors.append(
            f"this server is a {facts['role']}: a broker must be writable; point the broker URL at the master"
        )
    if not facts["aof_enabled"] and facts["rdb_enabled"] is False:
        warnings.append(
            "nothing is persisted: a restart of Redis loses every queued task; set appendonly yes"
        )
    elif not facts["aof_enabled"]:
        warnings.append(
            "appendonly is off: a crash of Redis loses the tasks queued since the last snapshot; "
            "set appendonly yes"
        )
    if not facts["aof_ok"] or not facts["rdb_ok"]:
        warnings.append("the last write to disk failed: see Redis' log and the free space of its directory")
    if facts["maxmemory"] and facts["used_memory"] >= NEARLY_FULL * facts["maxmemory"]:
        share = facts["used_memory"] / facts["maxmemory"]
        warnings.append(
            f"memory is {share:.0%} full ({facts['used_memory']} of {facts['maxmemory']} bytes): "
            "publishers fail when it is full; raise maxmemory or empty a queue"
        )
    if facts["evicted_keys"]:
        warnings.append(
            f"Redis has evicted {facts['evicted_keys']} keys since it started: results or tasks were lost"
        )
    return [{"severity": ERROR, "message": message} for message in errors] + [
        {"severity": WARNING, "message": message} for message in warnings
    ]


def _rdb_enabled(client: Any) -> bool | None:
    """None where CONFIG is not allowed, as on managed servers."""
    try:
        return bool(client.config_get("save").get("save"))
    except Exception:
        return None
