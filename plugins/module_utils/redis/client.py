# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak to Redis with nothing but the standard library.

Not every wheel that bundles a server bundles ``redis-cli`` too, and a password given to ``redis-cli``
has to pass through an argument or an environment that others may read. The protocol is smaller than
the care that would take.
"""

from __future__ import annotations

import socket
from typing import Any, BinaryIO


class RedisError(Exception):
    """The server answered with an error; ``code`` is its first word."""

    @property
    def code(self) -> str:
        return str(self).split(" ", 1)[0]


class Redis:
    """One connection. Raises OSError when the server cannot be reached or does not speak Redis."""

    def __init__(
        self, host: str, port: int, timeout: float = 5.0, connection: socket.socket | None = None
    ) -> None:
        self._socket = connection or socket.create_connection((host, port), timeout)
        self._stream: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def call(self, *args: str | int) -> Any:
        """Send one command and return its answer."""
        words = [str(arg).encode() for arg in args]
        self._socket.sendall(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        )
        return self._read()

    def _read(self) -> Any:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed in the middle of an answer")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$" and rest.lstrip("-").isdigit():
            size = int(rest)
            if size < 0:
                return None
            data = self._stream.read(size + 2)
            if len(data) < size + 2:
                raise ConnectionError("the connection was closed in the middle of an answer")
            return data[:-2].decode("utf-8", "replace")
        if kind == b"*" and rest.lstrip("-").isdigit():
            return [self._read() for unused in range(int(rest))]
        raise ConnectionError("the answer is not that of a Redis server")

    def info(self) -> dict[str, str]:
        """All of INFO as one dict."""
        return dict(line.split(":", 1) for line in self.call("INFO").splitlines() if ":" in line)

    def config(self) -> dict[str, str]:
        """All of CONFIG GET as one dict."""
        flat: list[str] = self.call("CONFIG", "GET", "*")
        return dict(zip(flat[::2], flat[1::2]))
