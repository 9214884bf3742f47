# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways a server starts and stops: by itself under a folder, or as the distribution's service."""

from __future__ import annotations

import os
import signal
import time
from typing import Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import client as redis_client
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process


class ManageError(Exception):
    """Starting or stopping did not work; the text tells the operator why and what the log says."""


class PrivateServer:
    """A server of this user that daemonises itself; its pid file says which process it is."""

    def __init__(self, config: str, pid_file: str, log_file: str, stop_timeout: float) -> None:
        self.config = config
        self.pid_file = pid_file
        self.log_file = log_file
        self.stop_timeout = stop_timeout
        self.binary = ""
        self._log_start = 0

    def pid(self) -> int | None:
        """The pid of the living server."""
        pid = redis_process.read_pid(self.pid_file)
        return pid if pid and redis_process.is_server(pid) else None

    def start(self, options: Sequence[str] = ()) -> None:
        """Start the server; returns once it is a daemon, which is before it has read its data."""
        self._log_start = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0
        umask = os.umask(0o077)  # the server's own: its data is for nobody else
        try:
            status, said = redis_process.run(
                [self.binary, self.config, *list(options)], env=_plain_environment()
            )
        finally:
            os.umask(umask)
        if status:
            raise ManageError(f"{self.binary} did not start: {said.strip() or self.log()}")

    def failed(self, since: float) -> bool:
        """True when a start has visibly come to nothing. The pid file appears before the data is read."""
        return self.pid() is None and time.monotonic() - since > 3

    def stop(self, session: redis_client.Redis | None, pid: int | None) -> None:
        """Stop without losing a key; never by force."""
        if session is not None:
            _shutdown(session)
        elif pid:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_timeout
        while pid and redis_process.is_server(pid):
            if time.monotonic() > deadline:
                raise ManageError(
                    "the Redis server with pid %d did not stop within %d seconds; it was left as it is. "
                    "Raise redis_stop_timeout or see what holds it. Its log says:\n%s"
                    % (pid, self.stop_timeout, self.log())
                )
            time.sleep(0.05)

    def log(self) -> str:
        """The last lines of the log since the last start."""
        return redis_process.tail(self.log_file, self._log_start)


class ServiceServer:
    """The server of a package, under systemd or, where that does not run, the ``service`` command."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._systemd = os.path.isdir("/run/systemd/system")

    def pid(self) -> int | None:
        """The pid of the living service, where systemd tells."""
        if not self._systemd:
            return None
        _unused, text = redis_process.run(["systemctl", "show", "--property=MainPID", "--value", self.name])
        return int(text) if text.strip().isdigit() and int(text) else None

    def present(self) -> bool:
        """True when the service exists."""
        if not self._systemd:
            return os.path.exists(f"/etc/init.d/{self.name}")
        _unused, text = redis_process.run(["systemctl", "show", "--property=LoadState", "--value", self.name])
        return text.strip() == "loaded"

    def masked(self) -> bool:
        """True when somebody has seen to it that nothing can start the service."""
        if not self._systemd:
            return False
        _unused, text = redis_process.run(["systemctl", "show", "--property=LoadState", "--value", self.name])
        return text.strip() == "masked"

    def enabled(self) -> bool:
        """True when the service starts with the host; always where there is no systemd to ask."""
        if not self._systemd:
            return True
        status, text = redis_process.run(["systemctl", "is-enabled", self.name])
        return status == 0 and text.strip() != "enabled-runtime"

    def enable(self) -> None:
        self._do("enable")

    def disable(self) -> None:
        if self._systemd:
            self._do("disable")

    def active(self) -> bool:
        """True when the service runs."""
        if self._systemd:
            return redis_process.run(["systemctl", "is-active", "--quiet", self.name])[0] == 0
        return redis_process.run(["service", self.name, "status"])[0] == 0

    def start(self, options: Sequence[str] = ()) -> None:
        self._do("start")

    def stop(self, session: redis_client.Redis | None, pid: int | None) -> None:
        self._do("stop")

    def failed(self, since: float) -> bool:
        """True when a start has visibly come to nothing."""
        return not self.active() and time.monotonic() - since > 3

    def _do(self, verb: str) -> None:
        command = ["systemctl", verb, self.name] if self._systemd else ["service", self.name, verb]
        status, said = redis_process.run(command, timeout=180)
        if status:
            raise ManageError("{} failed: {}\n{}".format(" ".join(command), said.strip(), self.log()))

    def log(self) -> str:
        """What the journal holds of the service."""
        if not self._systemd:
            return ""
        return redis_process.run(
            ["journalctl", "--no-pager", "--lines=15", "--output=cat", "--unit", self.name]
        )[1]


def _shutdown(session: redis_client.Redis) -> None:
    """Ask for a clean end. What neither the append-only file nor a save point would keep is saved first."""
    keeps = session.config()
    session.set_timeout(600)  # s; saving a large data set takes its time
    try:
        if keeps.get("appendonly") == "yes" or keeps.get("save"):
            session.call("SHUTDOWN")
        else:
            session.call("SHUTDOWN", "SAVE")
    except redis_client.RedisError as exc:
        raise ManageError(f"Redis refused to shut down: {exc}") from exc
    except OSError:
        return  # the answer to a shutdown is a closed connection


def _plain_environment() -> dict[str, str]:
    """What a daemon needs of the environment; a play's may hold secrets."""
    keep: list[str] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"]
    return {name: os.environ[name] for name in keep if name in os.environ}
