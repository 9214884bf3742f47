# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on this host's TCP ports, as /proc tells it."""

from __future__ import annotations

import functools
import ipaddress
import os
import struct
from dataclasses import dataclass
from typing import Iterable, Iterator

from ansible_collections.celeryops.fleet.plugins.module_utils import owners

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
    found = holders(pids, {one.inode for one in wanted})
    hidden = {one.inode for one in wanted if one.inode not in found}
    if hidden and os.geteuid() == 0:
        of_owner: dict[tuple[int, int], list[int]] = {}
        for pid in pids:
            of_owner.setdefault(owners.owner_of(pid), []).append(pid)
        uids = {one.uid for one in wanted if one.inode in hidden}
        for owner, ones in of_owner.items():
            if owner[0] in uids:
                found.update(owners.look_as(owner, functools.partial(holders, ones, hidden)))
    return [Listener(one.address, one.port, one.uid, one.inode, found.get(one.inode, 0)) for one in wanted]


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
