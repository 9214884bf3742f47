# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one server to the wanted directives.

The order makes an interrupted run harmless. What can change live is changed first, while our file still
names the old password. Then, only when something needs a start, the server is stopped. Then the file is
written, then the server is started. Wherever that breaks off, the next run finds either a server that
lets the old or the new password in, or none.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils import files
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import client as redis_client
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import tenants
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ManageError
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.observe import Observer, read

_START_ONLY_ANSWER = re.compile(r"immutable|protected config|unsupported config parameter", re.IGNORECASE)


class Reconciler(Observer):
    """What a private server and a service have in common; each says how its server is found and started."""

    header: Sequence[str] = ()
    restarted = False

    # What subclasses give.

    @abstractmethod
    def contents(self, text: str) -> list[tuple[str, str]]:
        """Path and text of the configuration files that are ours or hold a line of ours."""

    def paths(self) -> list[str]:
        return [path for path, unused in self.contents("")]

    def prepare(self) -> None:
        """What must be on the host before the server can start."""

    def needs_other_binary(self) -> bool:
        """Whether the running server is not the binary a start would run."""
        return False

    def starts_as_it_was(self) -> bool:
        """Whether a server that is down must first start with the configuration it has, to keep its data."""
        return False

    def start_options(self) -> list[str]:
        return []

    def drift(self) -> list[dict[str, Any]]:
        """What else than files and directives differs, as diffs; ``prepare`` mends it."""
        return []

    @abstractmethod
    def place(self, host: files.Converger, text: str) -> None:
        """Converge our file and what makes the server read it."""

    @abstractmethod
    def snapshot(self) -> Any:
        """What must be put back when the server does not start with the new files."""

    @abstractmethod
    def restore(self, snapshot: Any) -> bool:
        """Put it back; returns whether there was anything."""

    # What all do.

    def present(self) -> dict[str, Any]:
        """Have the server run with the wanted directives."""
        self.observe()
        text = redisconf.render(self.wanted, self.header)
        plan = self.compare()
        if plan.unknown:
            raise redis_checks.RefusedError(
                [
                    "the running server knows no directive {}. Correct redis_settings.".format(
                        ", ".join(plan.unknown)
                    )
                ]
            )
        locked = self.locked()
        restart = bool(plan.restart or locked or (self.session and self.needs_other_binary()))
        down = self.session is None and not locked
        before = dict(self.running)
        self.diff = self._foreseen(text)
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
            "changed": bool(self.diff or restart or down),
            "diff": self.diff,
            "changed_settings": settings,
            "started": down,
            "restarted": restart,
            "stopped": False,
            **self._facts(),
        }

    def others(self) -> list[str]:
        """The fleets that live on the server beside the one that leaves; without that one, none."""
        if not self.params["fleet"]:
            return []
        if self.session:
            return tenants.other_fleets(self.session.redis, self.params["fleet"])
        if self.locked() or self.server.pid():
            raise ManageError(
                "the running Redis lets no known password in or does not answer, so nobody can say whether "
                "it serves others, and it was left as it is. Set redis_password to the one it has, or see "
                "its log."
            )
        return []

    def kept(self, others: list[str]) -> dict[str, Any]:
        """The answer for a server that stays as it is."""
        nothing = {"stopped": False, "started": False, "restarted": False, "changed_settings": [], "diff": []}
        return {"changed": False, "others": others, **nothing}

    def _foreseen(self, text: str) -> list[dict[str, Any]]:
        """What files will change, with their secrets hidden."""
        diff = self.drift()
        host = files.Converger(check=True)
        old = {path: read(path) for path in self.paths()}
        self.place(host, text)
        return diff + readable(host.diffs, old, dict(self.contents(text)))

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
            self.stop()
        old = self.snapshot()
        self.place(files.Converger(), text)
        if restart or down:
            self._start(old)
        self.restarted = restart
        if self.session:
            self.running = self.session.redis.config()

    def _pid(self) -> int | None:
        pid = self.session.pid if self.session else self.server.pid()
        return int(pid) if pid else None

    def _apply(self, redis: redis_client.Redis, names: Sequence[str]) -> list[str]:
        """CONFIG SET; returns the names that this server only reads when it starts."""
        refused = []
        # The append-only file last: switching it on forks, and until the child has closed the sockets it was
        # born with, Redis cannot listen on a new address, and is left listening on none.
        for name in sorted(names, key=lambda name: name == "appendonly"):
            try:
                redis.call("CONFIG", "SET", name, redisconf.live_value(self.wanted[name]))
            except redis_client.RedisError as exc:
                if not _START_ONLY_ANSWER.search(str(exc)):
                    raise ManageError(
                        f"the running Redis refuses {name}: {exc}. Change the value, or the limit it meets."
                    ) from exc
                refused.append(name)
        if "appendonly" in names and self.wants_append_only():
            seconds = self.params["start_timeout"]
            if not redis_session.wait_for_rewrite(redis, seconds):
                raise ManageError(
                    "the append-only file was switched on, but not written within %d seconds; look for the "
                    "reason in the log of Redis, or raise redis_start_timeout" % seconds
                )
        return refused

    def save(self) -> None:
        """Before a stop: keep what the present or the next configuration would not keep by itself."""
        if not self.session:
            return
        redis = self.session.redis
        if redis.config().get("appendonly") == "yes" and self.wants_append_only():
            return
        redis.set_timeout(self.params["stop_timeout"])
        try:
            redis.call("SAVE")
        except (redis_client.RedisError, OSError) as exc:
            raise ManageError(f"Redis could not save its data, so it was not stopped: {exc}") from exc

    def stop(self) -> None:
        """Stop the server; whoever needs a session afterwards finds a new one."""
        self.server.stop(self.session.redis if self.session else None, self._pid())
        self.session = None

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
        """Start with the new files; when the server ends over them, put the old ones back."""
        try:
            self.server.start(self.start_options())
            self._wait_and_read()
            self._apply_rest()
        except ManageError as exc:
            if self.session:
                self.stop()
            elif self.server.pid():
                raise ManageError(
                    f"{exc}\n(It still runs. Raise redis_start_timeout if it reads data.)"
                ) from exc
            raise ManageError(f"{exc}\n({self._go_back(old)})") from exc

    def _apply_rest(self) -> None:
        """What a start did not bring: a directive that was given on the command line to keep data."""
        if self.session:
            self._apply(self.session.redis, self.compare().live)

    def _go_back(self, old: Any) -> str:
        """Put the old files back and start with them; returns how that went."""
        if not self.restore(old):
            return "There is no older configuration to go back to."
        try:
            self.server.start()
        except ManageError:
            return "The old configuration was put back, but does not start either."
        return "The old configuration was put back and started."

    def _facts(self) -> dict[str, Any]:
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


def readable(
    diffs: Sequence[dict[str, Any]], before: Mapping[str, str | None], after: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Diffs of secret files with their directives back in, all but the secrets themselves."""
    shown = []
    for entry in diffs:
        path = entry["after_header"].replace(" (content)", "")
        if entry["after_header"] != path and path in after:
            entry = {
                "before_header": path,
                "after_header": path,
                "before": redisconf.masked(before.get(path) or ""),
                "after": redisconf.masked(after[path]),
            }
        shown.append(entry)
    return shown


def _settings_diff(names: Sequence[str], before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    def lines(values: dict[str, str], mark: str) -> str:
        return "".join(
            "{} {}\n".format(name, mark if name in redisconf.SECRETS else values.get(name, ""))
            for name in names
        )

    return {
        "before_header": "running server",
        "after_header": "running server",
        "before": lines(before, "(hidden)"),
        "after": lines(after, "(hidden, another one)"),
    }
