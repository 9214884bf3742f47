"""systemd's notification protocol (sd_notify): readiness, watchdog and status line over a datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Speaks for the main process alone; a forked child that inherits the object stays silent.

    Parameters:
        address: Value of ``NOTIFY_SOCKET``; a leading ``@`` means Linux' abstract namespace. Empty: silence.
        watchdog: Seconds within which systemd expects to be fed, 0 for no watchdog.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog
        self._pid = os.getpid()
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.set_inheritable(False)
            self._socket.setblocking(False)

    @classmethod
    def from_env(cls, environ: MutableMapping[str, str] | None = None) -> Notifier:
        """Takes systemd's variables out of the environment, so that no child or subprocess speaks for us."""
        env = os.environ if environ is None else environ
        address = env.pop("NOTIFY_SOCKET", "")
        usec = env.pop("WATCHDOG_USEC", "")
        pid = env.pop("WATCHDOG_PID", "")
        ours = usec.isdigit() and (not pid or pid == str(os.getpid()))
        return cls(address, int(usec) / 1_000_000 if ours else 0.0)

    def ready(self) -> None:
        self._send("READY=1")

    def feed(self) -> None:
        if self.watchdog:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        self._send("STATUS=" + text.replace("\n", " "))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._socket is None or os.getpid() != self._pid:
            return
        # A full or vanished socket: the next message may pass, and nobody else could be told.
        with contextlib.suppress(OSError):
            self._socket.sendto(message.encode(), self._address)
