# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import socket
import sys

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.sockets import (
    Listener,
    listeners,
    overlap,
    parse_table,
    with_pids,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:15B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000 999 0 4711 1 0 100 0 0 10 0
   1: 0100007F:15B3 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 999 0 4712 1 0 20 4 30 10 -1
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st ...
   0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 9 1 0
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 5 0 10 1 0
   2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 5 0 11 1 0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the tables were written on a little-endian host")
def test_the_kernels_tables() -> None:
    assert list(parse_table(TABLE)) == [Listener("127.0.0.1", 5555, 999, "4711")]
    assert list(parse_table(TABLE6)) == [
        Listener("::", 6379, 0, "9"),
        Listener("127.0.0.1", 8080, 5, "10"),
        Listener("::1", 8080, 5, "11"),
    ]


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("::1", "::", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("::1", "0.0.0.0", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_addresses_in_each_others_way(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_a_real_listener_is_found_with_its_process() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        (found,) = with_pids(one for one in listeners() if one.port == port)
        assert (found.address, found.pid, found.uid) == ("127.0.0.1", os.getpid(), os.getuid())


def test_nothing_asked_nothing_looked_at() -> None:
    assert with_pids([]) == []
