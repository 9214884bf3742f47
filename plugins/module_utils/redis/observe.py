# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of a server, what runs, and what separates the two. Nothing here changes the host."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import units
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import client as redis_client
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ManageError


def read(path: str) -> str | None:
    """The text of a file, or None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


class Observer(ABC):
    """Reads wishes and host. Subclasses say how their server is recognised and found."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.config: str = params["config"]
        self.written: redisconf.Directives = {}
        self.wanted: redisconf.Directives = {}
        self.binary: redis_install.Binary | None = None
        self.session: redis_session.Session | None = None
        self.running: dict[str, str] = {}
        self.silent = False

    # What subclasses give.

    server: Any

    def fixed(self) -> dict[str, str]:
        """Directives that follow from how the server is run."""
        return {}

    @abstractmethod
    def look(self) -> list[str]:
        """Find the binary; returns what forbids to go on."""

    @abstractmethod
    def is_ours(self, session: redis_session.Session) -> bool: ...

    def older_passwords(self) -> list[str]:
        return [redisconf.first_value(self.written, "requirepass")]

    def more_ports(self) -> list[int]:
        """Where else than by our file and the wishes the server may be listening."""
        return []

    def more_addresses(self) -> list[str]:
        """The same for its addresses."""
        return []

    def loads_config(self) -> bool:
        """Whether a start reads our file."""
        return True

    def locked_problems(self) -> list[str]:
        """What forbids to restart a server that runs, but cannot be asked."""
        if not self.silent or not self.locked():
            return []
        return [
            "the Redis with pid %s takes connections, but did not answer within %d seconds: it is busy or "
            "hangs. Look into its log, and run again when it answers."
            % (self.server.pid(), redis_session.ANSWER)
        ]

    # What all do.

    def password(self) -> str:
        """The wanted password; empty when none is wanted, none has been made yet or it is gone already."""
        if self.params["password"]:
            return str(self.params["password"])
        if not self.params["password_file"]:
            return ""
        text = read(self.params["password_file"])
        if text is None and not self.check_mode and self.params["state"] != "absent":
            raise ManageError("the password file {} does not exist".format(self.params["password_file"]))
        return (text or "").strip()

    def has_password(self) -> bool:
        return bool(self.params["password"] or self.params["password_file"])

    def read_wishes(self) -> list[str]:
        """Fill ``wanted``; returns what is wrong with it."""
        values: dict[str, Any] = dict(self.params["directives"])
        values.update({name.lower(): value for name, value in self.params["settings"].items()})
        problems = redis_checks.extra_problems(self.params["settings"])
        for name, value in values.items():
            try:
                self.wanted[name] = redisconf.as_lines(value)
            except redisconf.ConfError as exc:
                problems.append(f"redis_settings: {name}: {exc}")
        self.wanted["bind"] = [list(self.params["bind"])]
        self.wanted["port"] = [[str(self.params["port"])]]
        if self.password():
            self.wanted["requirepass"] = [[self.password()]]
        self.wanted.update({name: [[value]] for name, value in self.fixed().items()})
        if self.params["maxmemory"]:
            try:
                self.wanted["maxmemory"] = [[str(units.parse_bytes(self.params["maxmemory"]))]]
            except units.UnitError as exc:
                problems.append("redis_maxmemory: {} {}.".format(self.params["maxmemory"], exc))
        return problems + redis_checks.value_problems(
            self.wanted, self.params["bind"], self.params["port"], self.has_password()
        )

    def read_written(self) -> None:
        self.written = redisconf.parse(read(self.config) or "")

    def locked(self) -> bool:
        """Whether our server runs, but cannot be asked."""
        return self.session is None and self.server.pid() is not None

    def wants_append_only(self) -> bool:
        return self.wanted.get("appendonly") == [["yes"]]

    def address(self) -> str:
        return redisconf.connect_address(self.params["bind"])

    def find(self) -> redis_session.Session | None:
        old_bind = (self.written.get("bind") or [[]])[-1]
        old_port = redisconf.first_value(self.written, "port")
        hosts = [self.address()] + ([redisconf.connect_address(old_bind)] if old_bind else [])
        hosts += self.more_addresses()
        ports = [self.params["port"]] + ([int(old_port)] if old_port.isdigit() else [])
        endpoints = [(host, port) for port in ports for host in hosts]
        endpoints += [(host, port) for port in self.more_ports() for host in hosts]
        found = redis_session.find(endpoints, [self.password(), *self.older_passwords()], self.is_ours)
        self.silent = found.silent
        return found.session

    def port_problems(self) -> list[str]:
        """The port must be free, or ours."""
        port = self.params["port"]
        ours = self.session.pid if self.session else self.server.pid()
        if (
            self.session
            and int(self.session.info["tcp_port"]) == port
            and redis_process.who_listens(port) is None
        ):
            return []  # this system does not tell who listens, but our server answers there
        problems = []
        for address in self.params["bind"]:
            trouble = redis_process.bind_problem(address, port)
            if trouble == "in use":
                listener = redis_process.who_listens(port)
                if listener and listener.pid and listener.pid == ours:
                    continue
                who = "another process" if listener is None else listener.name
                if listener and listener.pid:
                    who += " (pid %d)" % listener.pid
                problems.append(
                    "port %d of %s is in use by %s, which is not this Redis. Set redis_port to a free port, "
                    "or stop what listens there." % (port, address, who)
                )
            elif trouble == "denied":
                problems.append(
                    "this user may not listen on port %d. Set redis_port to one above 1023." % port
                )
            elif trouble == "no such address":
                problems.append(f"redis_bind names {address}, which is no address of this host.")
            if problems:
                break
        return problems

    def observe(self) -> None:
        """Read wishes and host; raises RefusedError when nothing may be touched."""
        self.read_written()
        problems = self.read_wishes()
        problems += self.look()
        if 1 <= self.params["port"] <= 65535:
            self.session = self.find()
            problems += self.port_problems() + self.locked_problems()
        if self.session:
            try:
                self.running = self.session.redis.config()
            except redis_client.RedisError as exc:
                problems.append(f"the running Redis does not answer CONFIG GET ({exc}): allow that command.")
            problems += redis_checks.running_problems(
                self.session.info, self.running, self.wanted, adopting=not self.written
            )
        if not problems and self.binary and self.wanted != self.written:
            told = redis_install.check_directives(self.binary.path, self.wanted)
            if told:
                problems.append(
                    "{} {} refuses the directives: {}. Correct redis_settings.".format(
                        self.binary.name, ".".join(map(str, self.binary.version)), told.rstrip(".")
                    )
                )
        if problems:
            raise redis_checks.RefusedError(problems)

    def compare(self) -> redisconf.Difference:
        """What separates the running server from the wishes; all of it a start when none runs."""
        if not self.session:
            return redisconf.Difference([], [], [])
        try:
            written_at = int(os.stat(self.config).st_mtime)
        except OSError:
            written_at = 1 << 62
        loaded = self.loads_config() and self.session.started >= written_at
        return redisconf.difference(self.wanted, self.running, self.session.version, self.written, loaded)
