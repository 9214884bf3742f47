# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something accepts connections at an address: `host:port`, or the path of a socket."""

from __future__ import annotations

import socket
import time

# On the host itself a listener answers at once; this bounds what a firewall swallows.
_CONNECT_SECONDS = 1.0


def accepts(address: str) -> bool:
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_CONNECT_SECONDS)
                connection.connect(address)
            return True
        host, port = split(address)
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def wait(address: str, seconds: float) -> bool:
    """Wait until it accepts; False when it does not within this time."""
    deadline = time.monotonic() + seconds
    while not accepts(address):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def split(address: str) -> tuple[str, int]:
    """host and port; a listener on every interface is reached on the loopback."""
    host, _colon, port = address.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"{address} is no address: host:port or the path of a socket is needed")
    host = host.strip("[]")
    return ({"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))
