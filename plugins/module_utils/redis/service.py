# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's server: its configuration stays and includes one file of ours at its end."""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import files
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import tenants
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ManageError, ServiceServer
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.observe import read
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.reconcile import Reconciler, readable


class Service(Reconciler):
    """Converges the server of a package; installing the package is the role's."""

    header = (
        "Kept by the Ansible collection celeryops.fleet: what is changed here is overwritten.",
        "Included at the end of the distribution's configuration, whose other directives stay in force.",
    )

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        super().__init__(params, check_mode)
        self.main_config: str = os.path.realpath(params["main_config"])
        self.main_text = read(self.main_config)
        self.main = redisconf.parse(self.main_text or "")
        self.server = ServiceServer(params["service"])

    def look(self) -> list[str]:
        problems = []
        if self.server.masked():
            return [
                "the service {0} is masked: somebody has seen to it that nothing can start it. Find out why, "
                "then run `systemctl unmask {0}`.".format(self.params["service"])
            ]
        if self.main_text is not None and self.server.present():
            found = redis_install.on_path()
            self.binary = found[0] if found else None
        if self.binary:
            problems.append(
                redis_checks.too_old(self.binary, "Upgrade the package or use a newer distribution release.")
            )
        elif not self.check_mode:
            raise ManageError(
                "the service {} with the configuration {} is not here: install its package first".format(
                    self.params["service"], self.params["main_config"]
                )
            )
        elif self.params["package"]:
            problems.append(self._candidate_problem())
        trouble = redis_process.room_problem(
            redisconf.first_value(self.main, "dir", "/var/lib"), redis_checks.ROOM
        )
        if trouble:
            problems.append(f"{trouble}: make room for Redis' data.")
        return [problem for problem in problems if problem]

    def _candidate_problem(self) -> str | None:
        """What APT would install, where there is APT and its lists are read in."""
        _unused, text = redis_process.run(
            ["apt-cache", "policy", self.params["package"]], env=dict(os.environ, LC_ALL="C")
        )
        line = next((line for line in text.splitlines() if line.strip().startswith("Candidate:")), "")
        version = redisconf.version_of(line.split(":", 1)[1].strip()) if line else ()
        if not version:
            return None
        return redis_checks.version_problem(
            self.params["package"],
            version,
            "the package this host would install",
            "Use a newer distribution release, or redis_prefix for a private server.",
        )

    def has_password(self) -> bool:
        return super().has_password() or bool(redisconf.first_value(self.main, "requirepass"))

    def older_passwords(self) -> list[str]:
        return [*super().older_passwords(), redisconf.first_value(self.main, "requirepass")]

    def more_ports(self) -> list[int]:
        port = redisconf.first_value(self.main, "port", "6379")
        return [int(port)] if port.isdigit() else []

    def more_addresses(self) -> list[str]:
        """As the package left it, it listens on the loopback address alone, wherever it is wanted."""
        bind = (self.main.get("bind") or [[]])[-1]
        return [redisconf.connect_address(bind)]

    def is_ours(self, session: redis_session.Session) -> bool:
        config = session.info.get("config_file", "")
        return bool(config) and os.path.realpath(config) == self.main_config

    def loads_config(self) -> bool:
        return redisconf.has_include_last(self.main_text or "", self.config)

    def starts_as_it_was(self) -> bool:
        # Switching its append-only file on at a start would hide the snapshot of a server that had none.
        return self.wants_append_only() and redisconf.first_value(self.written, "appendonly") != "yes"

    def locked_problems(self) -> list[str]:
        if self.silent or self.written or not self.locked():
            return super().locked_problems()
        return [
            "the Redis that runs as service {} lets none of the known passwords in. Set redis_password to "
            "the one it has; once it is under the role, it can be changed.".format(self.params["service"])
        ]

    def drift(self) -> list[dict[str, Any]]:
        if self.binary and self.server.enabled():
            return []
        name = "service {}".format(self.params["service"])
        return [
            {"before_header": name, "after_header": name, "before": "", "after": "starts with the host\n"}
        ]

    def prepare(self) -> None:
        if not self.server.enabled():
            self.server.enable()

    def contents(self, text: str) -> list[Any]:
        main = self.main_text or ""
        if not redisconf.has_include_last(main, self.config):
            main = redisconf.with_include(main, self.config)
        return [(self.config, text), (self.main_config, main)]

    def place(self, host: files.Converger, text: str) -> None:
        (config, ours), (main_config, main) = self.contents(text)
        host.file(config, ours, 0o640, owner="root", group=self.params["group"], secret=True)
        host.file(main_config, main, self._main_mode(), secret=True)

    def _main_mode(self) -> int:
        """The mode the distribution's file has; it is not ours to change."""
        return stat.S_IMODE(os.stat(self.main_config).st_mode) if self.main_text is not None else 0o640

    def snapshot(self) -> dict[str, str | None]:
        return {path: read(path) for path in self.paths()}

    def restore(self, snapshot: dict[str, str | None]) -> bool:
        host = files.Converger()
        host.file(self.main_config, snapshot[self.main_config] or "", self._main_mode(), secret=True)
        ours = snapshot[self.config]
        if ours is None:
            host.absent(self.config)
        else:
            host.file(self.config, ours, 0o640, owner="root", group=self.params["group"], secret=True)
        return True

    def absent(self) -> dict[str, Any]:
        """Remove our file and line; the service goes on with the configuration it had before.

        With a fleet that leaves, a server of which nobody else has anything is stopped for good.
        """
        self.read_written()
        host = files.Converger(check=self.check_mode)
        main = self.main_text or ""
        stripped = redisconf.without_include(main, self.config)
        active = self.server.active()
        ours = bool(self.written) or stripped != main
        self.session = self.find() if active and ours else None
        others = self.others() if active and ours else []
        if others:
            return self.kept(others)
        fleet = self.params["fleet"]
        stop = (
            bool(fleet) and self.session is not None and tenants.is_empty_without(self.session.redis, fleet)
        )
        restart = active and stripped != main and not stop
        if stop and not self.check_mode:
            self.server.disable()
            self.stop()
        if restart and not self.check_mode:
            if not self.session:
                raise ManageError(
                    "the running Redis lets no known password in, so its data cannot be saved before the "
                    "restart. Set redis_password to the one it has."
                )
            self.wanted = redisconf.parse(stripped)
            self.save()
            self.stop()
        if stripped != main:
            host.file(self.main_config, stripped, self._main_mode(), secret=True)
        # Our file goes last: as long as it is there without its line, a run broke off before the start.
        start = restart or (bool(self.written) and not active and stripped == main and self.server.enabled())
        if start and not self.check_mode:
            self.server.start()
        host.absent(self.config)
        return {
            "changed": bool(host.changed_paths) or stop,
            "stopped": stop,
            "started": start and not restart,
            "restarted": restart,
            "others": [],
            "changed_settings": [],
            "diff": readable(host.diffs, {self.main_config: main}, {self.main_config: stripped}),
        }
