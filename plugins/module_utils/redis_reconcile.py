# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one server to the wanted directives.

The order makes an interrupted run harmless. What can change live is changed first, while our file still
names the old password. Then, only when something needs a start, the server is stopped. Then the file is
written, then the server is started. Wherever that breaks off, the next run finds either a server that
lets the old or the new password in, or none.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ansible_collections.celeryops.fleet.plugins.module_utils import (
    files,
    redis_checks,
    redis_client,
    redis_install,
    redis_process,
    redis_session,
    redisconf,
    units,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.redis_manage import ManageError

_START_ONLY_ANSWER = re.compile(r"immutable|protected config|unsupported config parameter", re.IGNORECASE)

class Reconciler:
    """What a private server and a service have in common. Subclasses say how to find, start and stop theirs."""

    header: Sequence[str] = ()

    def __init__(self, params: Dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.config: str = params["config"]
        self.written: redisconf.Directives = {}
        self.wanted: redisconf.Directives = {}
        self.binary: Optional[redis_install.Binary] = None
        self.session: Optional[redis_session.Session] = None
        self.running: Dict[str, str] = {}
        self.diff: List[Dict[str, Any]] = []
        self.restarted = False

    # What subclasses give.

    server: Any

    def contents(self, text: str) -> List[Tuple[str, str]]:
        """Path and text of the configuration files that are ours or hold a line of ours."""
        raise NotImplementedError

    def paths(self) -> List[str]:
        return [path for path, unused in self.contents("")]

    def fixed(self) -> Dict[str, str]:
        """Directives that follow from how the server is run."""
        return {}

    def look(self) -> List[str]:
        """Find the binary; returns what forbids to go on."""
        raise NotImplementedError

    def is_ours(self, session: redis_session.Session) -> bool:
        raise NotImplementedError

    def older_passwords(self) -> List[str]:
        return [redisconf.first_value(self.written, "requirepass")]

    def more_ports(self) -> List[int]:
        """Where else than by our file and the wishes the server may be listening."""
        return []

    def loads_config(self) -> bool:
        """Whether a start reads our file."""
        return True

    def prepare(self) -> None:
        """What must be on the host before the server can start."""

    def needs_other_binary(self) -> bool:
        """Whether the running server is not the binary a start would run."""
        return False

    def starts_as_it_was(self) -> bool:
        """Whether a server that is down must first start with the configuration it has, to keep its data."""
        return False

    def start_options(self) -> List[str]:
        return []

    def drift(self) -> List[Dict[str, Any]]:
        """What else than files and directives differs, as diffs; ``prepare`` mends it."""
        return []

    def place(self, host: files.Converger, text: str) -> None:
        """Converge our file and what makes the server read it."""
        raise NotImplementedError

    def snapshot(self) -> Any:
        """What must be put back when the server does not start with the new files."""
        raise NotImplementedError

    def restore(self, snapshot: Any) -> bool:
        """Put it back; returns whether there was anything."""
        raise NotImplementedError

    # What all do.

    def password(self) -> str:
        """The wanted password; empty when none is wanted or, in check mode, none has been made yet."""
        if self.params["password"]:
            return str(self.params["password"])
        if not self.params["password_file"]:
            return ""
        text = read(self.params["password_file"])
        if text is None and not self.check_mode:
            raise ManageError("the password file %s does not exist" % self.params["password_file"])
        return (text or "").strip()

    def has_password(self) -> bool:
        return bool(self.params["password"] or self.params["password_file"])

    def read_wishes(self) -> List[str]:
        """Fill ``wanted``; returns what is wrong with it."""
        values: Dict[str, Any] = dict(self.params["directives"])
        values.update({name.lower(): value for name, value in self.params["settings"].items()})
        problems = redis_checks.extra_problems(self.params["settings"])
        for name, value in values.items():
            try:
                self.wanted[name] = redisconf.as_lines(value)
            except redisconf.ConfError as exc:
                problems.append("redis_settings: %s: %s" % (name, exc))
        self.wanted["bind"] = [list(self.params["bind"])]
        self.wanted["port"] = [[str(self.params["port"])]]
        if self.password():
            self.wanted["requirepass"] = [[self.password()]]
        self.wanted.update({name: [[value]] for name, value in self.fixed().items()})
        if self.params["maxmemory"]:
            try:
                self.wanted["maxmemory"] = [[str(units.parse_bytes(self.params["maxmemory"]))]]
            except units.UnitError as exc:
                problems.append("redis_maxmemory: %s %s." % (self.params["maxmemory"], exc))
        return problems + redis_checks.value_problems(
            self.wanted, self.params["bind"], self.params["port"], self.has_password()
        )

    def read_written(self) -> None:
        self.written = redisconf.parse(read(self.config) or "")

    def address(self) -> str:
        return redisconf.connect_address(self.params["bind"])

    def find(self) -> Optional[redis_session.Session]:
        old_bind = (self.written.get("bind") or [[]])[-1]
        old_port = redisconf.first_value(self.written, "port")
        hosts = [self.address()] + ([redisconf.connect_address(old_bind)] if old_bind else [])
        ports = [self.params["port"]] + ([int(old_port)] if old_port.isdigit() else [])
        endpoints = [(host, port) for port in ports for host in hosts]
        endpoints += [(hosts[0], port) for port in self.more_ports()]
        return redis_session.find(endpoints, [self.password()] + self.older_passwords(), self.is_ours)

    def port_problems(self) -> List[str]:
        """The port must be free, or ours."""
        port = self.params["port"]
        ours = self.session.pid if self.session else self.server.pid()
        if self.session and int(self.session.info["tcp_port"]) == port and redis_process.who_listens(port) is None:
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
                    "port %d of %s is in use by %s, which is not this Redis. Set redis_port to a free port, or stop "
                    "what listens there." % (port, address, who)
                )
            elif trouble == "denied":
                problems.append("this user may not listen on port %d. Set redis_port to one above 1023." % port)
            elif trouble == "no such address":
                problems.append("redis_bind names %s, which is no address of this host." % address)
            if problems:
                break
        return problems

    def observe(self) -> None:
        """Read wishes and host; raises Refused when nothing may be touched."""
        self.read_written()
        problems = self.read_wishes()
        problems += self.look()
        self.session = self.find()
        problems += self.port_problems()
        if self.session:
            self.running = self.session.redis.config()
            problems += redis_checks.running_problems(
                self.session.info, self.running, self.wanted, adopting=not self.written
            )
        if not problems and self.binary and self.wanted != self.written:
            told = redis_install.check_directives(self.binary.path, self.wanted)
            if told:
                problems.append("%s %s refuses the directives: %s. Correct redis_settings." % (
                    self.binary.name, ".".join(map(str, self.binary.version)), told.rstrip(".")))
        if problems:
            raise redis_checks.Refused(problems)

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

    def present(self) -> Dict[str, Any]:
        """Have the server run with the wanted directives."""
        self.observe()
        text = redisconf.render(self.wanted, self.header)
        plan = self.compare()
        if plan.unknown:
            raise redis_checks.Refused(
                ["the running server knows no directive %s. Correct redis_settings." % ", ".join(plan.unknown)]
            )
        self._foresee(text)
        locked = self.session is None and self.server.pid() is not None
        restart = bool(plan.restart or locked or (self.session and self.needs_other_binary()))
        down = self.session is None and not locked
        before = dict(self.running)
        if self.check_mode:
            changes = set(plan.live) | (set(plan.restart) & set(self.wanted))
            after = dict(before, **{name: redisconf.live_value(self.wanted[name]) for name in changes})
        else:
            self._converge(text, plan, restart, down)
            after, restart = self.running, self.restarted
        settings = sorted(name for name in self.wanted if name in before and before[name] != after.get(name))
        if settings:
            self.diff.append(_settings_diff(settings, before, after))
        return {
            "changed": bool(self.diff or restart or down), "diff": self.diff, "changed_settings": settings,
            "started": down, "restarted": restart, "stopped": False, **self._facts(),
        }

    def _foresee(self, text: str) -> None:
        """What files will change, with their secrets hidden."""
        self.diff.extend(self.drift())
        host = files.Converger(check=True)
        old = {path: read(path) for path in self.paths()}
        self.place(host, text)
        new = dict(self.contents(text))
        for entry in host.diffs:
            path = entry["after_header"].replace(" (content)", "")
            if entry["after_header"] != path and path in new:
                entry = {
                    "before_header": path, "after_header": path,
                    "before": redisconf.masked(old[path] or ""), "after": redisconf.masked(new[path]),
                }
            self.diff.append(entry)

    def _converge(self, text: str, plan: redisconf.Difference, restart: bool, down: bool) -> None:
        self.prepare()
        if down and self.starts_as_it_was():
            self.server.start()
            self._wait_and_read()
            plan, down = self.compare(), False
            restart = bool(plan.restart)
        elif self.session and self.session.loading:
            self._wait_and_read()
        if self.session:
            restart = bool(self._apply(self.session.redis, plan.live)) or restart
        if restart:
            self.save()
            self.server.stop(self.session.redis if self.session else None, self._pid())
        old = self.snapshot()
        self.place(files.Converger(), text)
        if restart or down:
            self._start(old)
        self.restarted = restart
        if self.session:
            self.running = self.session.redis.config()

    def _pid(self) -> Optional[int]:
        pid = self.session.pid if self.session else self.server.pid()
        return int(pid) if pid else None

    def _apply(self, redis: redis_client.Redis, names: Sequence[str]) -> List[str]:
        """CONFIG SET; returns the names that this server only reads when it starts."""
        refused = []
        for name in names:
            try:
                redis.call("CONFIG", "SET", name, redisconf.live_value(self.wanted[name]))
            except redis_client.RedisError as exc:
                if not _START_ONLY_ANSWER.search(str(exc)):
                    raise ManageError("the running Redis refuses %s: %s" % (name, exc)) from exc
                refused.append(name)
        if "appendonly" in names and self.wanted["appendonly"] == [["yes"]]:
            if not redis_session.wait_for_rewrite(redis, self.params["start_timeout"]):
                raise ManageError(
                    "the append-only file was switched on, but its first rewrite did not succeed within %d seconds; "
                    "look for the reason in the log of Redis" % self.params["start_timeout"]
                )
        return refused

    def save(self) -> None:
        """Before a stop: keep what the present or the next configuration would not keep by itself."""
        if not self.session:
            return
        redis = self.session.redis
        stays_in_aof = redis.config().get("appendonly") == "yes" and self.wanted.get("appendonly") == [["yes"]]
        if not stays_in_aof:
            redis.set_timeout(self.params["stop_timeout"])
            redis.call("SAVE")

    def _wait_and_read(self) -> None:
        if self.session:
            self.session.redis.close()
        self.session = redis_session.wait(self.find, self.server.failed, self.params["start_timeout"])
        if not self.session:
            raise ManageError(
                "Redis did not answer on %s port %d within %d seconds. Its log says:\n%s"
                % (self.address(), self.params["port"], self.params["start_timeout"], self.server.log())
            )
        self.running = self.session.redis.config()

    def _start(self, old: Any) -> None:
        """Start with the new files; when that fails, put the old ones back so that the host is as it was."""
        self.session = None
        try:
            options = self.start_options()
            self.server.start(options)
            self._wait_and_read()
            assert self.session is not None
            plan = self.compare()
            self._apply(self.session.redis, plan.live)
        except ManageError as exc:
            told = "nothing of the old configuration is left to go back to"
            if self.restore(old):
                try:
                    self.server.start()
                    told = "the old configuration was put back and started"
                except ManageError:
                    told = "the old configuration was put back, but does not start either"
            raise ManageError("%s\n(%s)" % (exc, told)) from exc

    def _facts(self) -> Dict[str, Any]:
        """What is known of the server."""
        known: Any = self.session or self.binary
        return {
            "name": known.name if known else "",
            "version": ".".join(map(str, known.version)) if known else "",
            "pid": self._pid(),
            "binary": self.binary.path if self.binary else None,
            "installed": self.binary is not None,
            "address": self.address(),
            "port": self.params["port"],
        }


def read(path: str) -> Optional[str]:
    """The text of a file, or None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _settings_diff(names: Sequence[str], before: Dict[str, str], after: Dict[str, str]) -> Dict[str, str]:
    def lines(values: Dict[str, str], mark: str) -> str:
        return "".join(
            "%s %s\n" % (name, mark if name in redisconf.SECRETS else values.get(name, "")) for name in names
        )

    return {
        "before_header": "running server", "after_header": "running server",
        "before": lines(before, "(hidden)"), "after": lines(after, "(hidden, another one)"),
    }
