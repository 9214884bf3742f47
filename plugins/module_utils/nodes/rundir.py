# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What background nodes leave in their run directory: pidfiles, and which of them was told to stop."""

from __future__ import annotations

import os

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process


class RunDir:
    """One fleet's run directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def pidfile(self, node: str) -> str:
        return os.path.join(self.path, f"{node}.pid")

    def stopping_mark(self, node: str) -> str:
        return os.path.join(self.path, f"{node}.stopping")

    def names(self) -> set[str]:
        """The nodes that have a pidfile."""
        if not os.path.isdir(self.path):
            return set()
        return {entry[:-4] for entry in os.listdir(self.path) if entry.endswith(".pid")}

    def pid(self, node: str) -> int:
        return processes.read_pidfile(self.pidfile(node))

    def ask_to_stop(self, node: str, process: Process) -> None:
        """TERM once only: with REMAP_SIGTERM a second one would cancel the tasks that are being finished."""
        if self.was_asked_to_stop(node, process):
            return
        processes.terminate(process)
        if os.path.isdir(self.path):
            with open(self.stopping_mark(node), "a", encoding="ascii") as stream:
                stream.write(f"{process.pid} {process.started}\n")

    def was_asked_to_stop(self, node: str, process: Process) -> bool:
        try:
            with open(self.stopping_mark(node), encoding="ascii") as stream:
                return f"{process.pid} {process.started}\n" in stream.readlines()
        except OSError:
            return False

    def forget(self, node: str) -> None:
        for path in (self.pidfile(node), self.stopping_mark(node)):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass

    def adopt(self, node: str, process: Process) -> bool:
        """Write the lost pidfile again. False when the process has ended meanwhile: it is then restarted."""
        path = self.pidfile(node)
        try:
            owner = os.stat(f"{processes.PROC}/{process.pid}")
        except FileNotFoundError:
            return False
        with open(f"{path}.new", "w", encoding="ascii") as stream:
            stream.write(f"{process.pid}\n")
        if os.geteuid() == 0:
            os.chown(f"{path}.new", owner.st_uid, owner.st_gid)
        os.replace(f"{path}.new", path)
        return True
