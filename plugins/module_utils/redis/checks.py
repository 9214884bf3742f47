# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be refused before anything is touched. Pure: each function returns sentences for the operator."""

from __future__ import annotations

import re
from typing import Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install

OLDEST = (6, 2)
ROOM = 200 * 2**20  # bytes; a server, its append-only file and the rewrite of it beside the first

# Directives with a variable of their own, or that would take the server out of our hands.
RESERVED = {
    "bind": "redis_bind",
    "port": "redis_port",
    "requirepass": "redis_password",
    "maxmemory": "redis_maxmemory",
    "maxmemory-policy": "redis_maxmemory_policy",
    "databases": "redis_databases",
    "maxclients": "redis_maxclients",
    "dir": "",
    "daemonize": "",
    "supervised": "",
    "pidfile": "",
    "logfile": "",
    "include": "",
    "unixsocket": "",
    "cluster-enabled": "",
}


class RefusedError(Exception):
    """The host or the wishes are such that nothing may be touched."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def extra_problems(settings: Mapping[str, object]) -> list[str]:
    """Directives of ``redis_settings`` that belong elsewhere."""
    problems = []
    for name in sorted(settings):
        if name.lower() not in RESERVED:
            continue
        variable = RESERVED[name.lower()]
        problems.append(
            "redis_settings holds {}: {}".format(
                name,
                f"set {variable} instead."
                if variable
                else "Celery cannot use a Redis Cluster, its commands span several keys; remove it."
                if name.lower() == "cluster-enabled"
                else "the role sets it itself; remove it.",
            )
        )
    return problems


def value_problems(
    wanted: redisconf.Directives, bind: Sequence[str], port: int, has_password: bool
) -> list[str]:
    """Values that cannot work, whatever runs on the host."""
    problems = []
    policy = redisconf.first_value(wanted, "maxmemory-policy", "noeviction")
    if not policy_is_safe(policy):
        problems.append(
            f"redis_maxmemory_policy is {policy}: at maxmemory Redis would silently drop queued tasks. "
            "Use noeviction, which makes a publish fail aloud, or one of volatile-*, which spares the queues."
        )
    databases = redisconf.first_value(wanted, "databases")
    if databases and not re.fullmatch(r"[1-9]\d*", databases):
        problems.append(f"redis_databases is {databases}: it is a number of at least 1.")
    if not 1 <= port <= 65535:
        problems.append("redis_port is %d: a port is a number from 1 to 65535." % port)
    if not bind:
        problems.append("redis_bind is empty: Redis would listen on every address. Name the addresses.")
    elif not has_password and not redisconf.loopback_only(bind):
        problems.append(
            "redis_bind is {} without a password: whoever reaches that address owns the queues and, through "
            "them, the workers. Set redis_password or bind to 127.0.0.1.".format(" ".join(bind))
        )
    return problems


def policy_is_safe(policy: str) -> bool:
    """True when reaching maxmemory cannot remove a key without a TTL, and so no queue."""
    return policy == "noeviction" or policy.startswith("volatile-")


def version_problem(name: str, version: tuple[int, ...], where: str, remedy: str) -> str | None:
    """Refuse what is older than Redis 6.2."""
    if version and version[:2] >= OLDEST:
        return None
    shown = ".".join(str(part) for part in version) or "of unknown version"
    return f"{name} {shown} ({where}) is too old: at least Redis 6.2 is needed. {remedy}"


def too_old(binary: redis_install.Binary, remedy: str) -> str | None:
    """Refuse a binary that is older than Redis 6.2."""
    return version_problem(binary.name, binary.version, binary.path, remedy)


def database_sizes(info: Mapping[str, str]) -> dict[int, int]:
    """Keys by database number, of the databases that hold any."""
    sizes = {}
    for name, value in info.items():
        found = re.fullmatch(r"db(\d+)", name)
        keys = re.match(r"keys=(\d+)", value)
        if found and keys:
            sizes[int(found.group(1))] = int(keys.group(1))
    return sizes


def running_problems(
    info: Mapping[str, str], running: Mapping[str, str], wanted: redisconf.Directives, adopting: bool
) -> list[str]:
    """What the running server holds or is that the wanted directives would break."""
    problems = []
    if info.get("cluster_enabled") == "1":
        problems.append(
            "the Redis that runs on port {} is in Cluster mode: Celery's commands span several keys, which "
            "a Cluster refuses. Use a Redis of its own without cluster-enabled.".format(
                info.get("tcp_port", "?")
            )
        )
    sizes = database_sizes(info)
    limit = redisconf.memory(redisconf.first_value(wanted, "maxmemory", "0")) or 0
    used = int(info.get("used_memory", "0"))
    if limit and used > limit:
        problems.append(
            "redis_maxmemory is %d MB, but the running server already holds %d MB: every publish would fail. "
            "Raise redis_maxmemory." % (limit // 10**6, used // 10**6)
        )
    databases = redisconf.first_value(wanted, "databases")
    beyond = sorted(number for number in sizes if databases.isdigit() and number >= int(databases))
    if beyond:
        problems.append(
            "redis_databases is %s, but database %s holds keys and Redis would not start again. Raise "
            "redis_databases to at least %d." % (databases, ", ".join(map(str, beyond)), beyond[-1] + 1)
        )
    policy = running.get("maxmemory-policy", "noeviction")
    if adopting and sizes and not policy_is_safe(policy):
        problems.append(
            "the Redis that runs here evicts by %s and holds %d keys: it looks like somebody's cache. Use "
            "another Redis for Celery, or set its maxmemory-policy to noeviction by hand and run again."
            % (policy, sum(sizes.values()))
        )
    return problems


def downgrade_problem(
    name: str, version: tuple[int, ...], running: tuple[str, tuple[int, ...]], multipart_aof: bool
) -> str | None:
    """A server must not be handed data it cannot read: some start empty instead of saying so."""
    shown = "{} {}".format(name, ".".join(map(str, version)))
    old_name, old_version = running
    if old_version and (version[:2] < old_version[:2] or (old_name, name) == ("Valkey", "Redis")):
        return (
            "the data belongs to {} {}, which runs now; {} cannot read it. Set redis_binary to a server that "
            "is as new, or tear the old one down together with its data first.".format(
                old_name, ".".join(map(str, old_version)), shown
            )
        )
    if multipart_aof and version < (7, 0):
        return (
            f"the data was written by Redis 7 or later; {shown} would ignore it and start empty. "
            "Set redis_binary to a newer server."
        )
    return None
