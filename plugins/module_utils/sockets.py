# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on this host's TCP ports, as /proc tells it."""

from __future__ import annotations

import ipaddress
import json
import os
import struct
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator

PROC = "/proc"
_LISTEN = "0A"  # TCP_LISTEN in the kernel's table


@dataclass(frozen=True)
class Listener:
    """A listening socket. pid is 0 as long as its process is not known."""

    address: str
    port: int
    uid: int
    inode: str
    pid: int = 0


def parse_table(text: str) -> Iterator[Listener]:
    """The listening sockets in the text of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _colon, port = fields[1].partition(":")
            yield Listener(parse_address(address), int(port, 16), int(fields[7]), fields[9])


def parse_address(text: str) -> str:
    """An address of the table: words of 32 bits, each in the host's byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(packed) == 4:
        return str(ipaddress.IPv4Address(packed))
    whole = ipaddress.IPv6Address(packed)
    return str(whole.ipv4_mapped or whole)


def overlap(one: str, other: str) -> bool:
    """Whether two sockets of one port at these addresses get in each other's way. `::` takes IPv4 too."""
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and (":" in one) == (":" in other)


def listeners() -> list[Listener]:
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"{PROC}/net/{name}", encoding="ascii") as table:
                found += parse_table(table.read())
        except OSError:
            continue
    return found


def with_pids(wanted: Iterable[Listener]) -> list[Listener]:
    """The same listeners with their processes, as far as this user may see them.

    A socket that several processes share counts as the one with the lowest pid, which is the parent.
    """
    wanted = list(wanted)
    if not wanted:
        return []
    pids = sorted(int(name) for name in os.listdir(PROC) if name.isdigit())
    owners = holders(pids, {one.inode for one in wanted})
    for uid in sorted({one.uid for one in wanted if one.inode not in owners}):
        # Root without CAP_SYS_PTRACE, as in an ordinary container, is refused what the owner may see.
        if os.geteuid() == 0 and uid > 0:
            mine = [pid for pid in pids if _uid(pid) == uid]
            inodes = {one.inode for one in wanted if one.uid == uid}
            owners.update(_as_owner(mine, lambda mine=mine, inodes=inodes: holders(mine, inodes)))  # type: ignore[misc]
    return [Listener(one.address, one.port, one.uid, one.inode, owners.get(one.inode, 0)) for one in wanted]


def holders(pids: Iterable[int], inodes: set[str]) -> dict[str, int]:
    """The first of these processes that holds each of the socket inodes."""
    found: dict[str, int] = {}
    for pid in pids:
        try:
            names = os.listdir(f"{PROC}/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"{PROC}/{pid}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found.setdefault(target[8:-1], pid)
    return found


def _uid(pid: int) -> int:
    try:
        return os.stat(f"{PROC}/{pid}").st_uid
    except OSError:
        return -1


def _gid(pid: int) -> int:
    try:
        return os.stat(f"{PROC}/{pid}").st_gid
    except OSError:
        return -1


def _as_owner(pids: list[int], look: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Look in a child that has become the owner of these processes: the kernel compares user and group."""
    if not pids:
        return {}
    uid, gid = _uid(pids[0]), _gid(pids[0])
    if uid < 0 or gid < 0:
        return {}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            with os.fdopen(writer, "w") as stream:
                json.dump(look(), stream)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {}
