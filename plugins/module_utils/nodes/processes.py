# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a fleet on this host, read from /proc.

A process tells by its own environment which fleet and node it is and which fingerprint it carries
(CELERYOPS_FLEET, CELERYOPS_NODE, CELERYOPS_FINGERPRINT), so neither a pidfile nor a unit is believed alone.
"""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping

from ansible_collections.celeryops.fleet.plugins.module_utils import owners

PROC = "/proc"

FLEET = "CELERYOPS_FLEET"
NODE = "CELERYOPS_NODE"
FINGERPRINT = "CELERYOPS_FINGERPRINT"
RUN_DIR = "CELERYOPS_RUN_DIR"
# Of what stands in the unit file, which a fingerprint in an environment file does not tell.
UNIT = "CELERYOPS_UNIT"


class ProcessError(Exception):
    """Something about a process cannot be known or done; the text says what to change."""


@dataclass(frozen=True)
class Process:
    """pid and started (clock ticks since boot) together name a process for ever: pids are used again."""

    pid: int
    ppid: int
    started: int
    cmdline: tuple[str, ...] = ()
    environ: Mapping[str, str] | None = field(default=None, hash=False)
    catches_interrupt: bool = False
    cgroup: str = ""

    def get(self, name: str) -> str | None:
        return (self.environ or {}).get(name)


def require_proc() -> None:
    if not os.path.exists(f"{PROC}/self/environ"):
        raise ProcessError(
            "there is no /proc on this host, so a running process cannot be asked for its fingerprint. "
            "celery_nodes manages nodes on Linux only; macOS and the BSDs are not supported as targets."
        )


def read(pid: int) -> Process | None:
    """The process, or None when it is gone. A zombie is gone: nothing of it runs any more."""
    return read_many([pid]).get(pid)


def read_many(pids: Iterable[int]) -> dict[int, Process]:
    """The living ones among these processes. `environ` is None where it may not be read."""
    bare: dict[int, Process] = {}
    environs: dict[int, Mapping[str, str]] = {}
    refused: dict[tuple[int, int], list[int]] = {}
    for pid in pids:
        one = _read_bare(pid)
        if one is None:
            continue
        bare[pid] = one
        try:
            environs[pid] = parse_environ(_bytes(f"{PROC}/{pid}/environ"))
        except PermissionError:
            refused.setdefault(owners.owner_of(pid), []).append(pid)
        except OSError:
            del bare[pid]
    if os.geteuid() == 0:
        for owner, ones in refused.items():
            seen = owners.look_as(owner, functools.partial(_environs, ones))
            environs.update({int(pid): environ for pid, environ in seen.items()})
    return {
        pid: Process(
            one.pid,
            one.ppid,
            one.started,
            one.cmdline,
            environs.get(pid),
            one.catches_interrupt,
            one.cgroup,
        )
        for pid, one in bare.items()
    }


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def still_there(process: Process) -> bool:
    now = _read_bare(process.pid)
    return now is not None and now.started == process.started


def terminate(process: Process, number: int = signal.SIGTERM) -> None:
    """Signal this process alone. Never its group: a pool child that gets TERM takes its task with it."""
    if not still_there(process):
        return
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise ProcessError(
            f"process {process.pid} may not be signalled by {_whoami()}: it belongs to another user. "
            f"Run the play as root or as the user who started it."
        ) from error


def belongs(process: Process, fleet: str, run_dir: str) -> bool:
    """Whether a process is of this fleet and of this installation: a second one of the same name, under a
    prefix of its own, is none of our business."""
    return process.get(FLEET) == fleet and process.get(RUN_DIR) == run_dir


def mains(processes: Mapping[int, Process], fleet: str, run_dir: str) -> list[Process]:
    """The main process of every node of this installation of the fleet among these."""
    return mains_of(processes, lambda process: belongs(process, fleet, run_dir))


def mains_of(processes: Mapping[int, Process], is_member: Callable[[Process], bool]) -> list[Process]:
    """The main process of every node among these members of a fleet.

    Pool children and whatever a task has started inherit the environment. They are told apart by their
    parent, which is of the same node, and by SIGINT: a main process catches it, a pool child ignores it, so
    a child whose parent was killed is not taken for a node.
    """
    found = []
    for one in processes.values():
        if not is_member(one) or not one.get(NODE) or not one.catches_interrupt:
            continue
        parent = processes.get(one.ppid)
        if parent is not None and is_member(parent) and parent.get(NODE) == one.get(NODE):
            continue
        if _is_launcher(one.cmdline):
            continue
        found.append(one)
    return sorted(found, key=lambda one: one.pid)


def _is_launcher(cmdline: tuple[str, ...]) -> bool:
    return "multi" in cmdline or not any(
        word in argument for argument in cmdline for word in ("worker", "beat", "flower")
    )


def is_node(process: Process, fleet: str, node: str, marks: Iterable[str] = ()) -> bool:
    """Whether a pidfile's process is really this node and not a stranger who got its old pid.

    A process which carries no fleet in its environment (started by hand, or by an older layout) is
    known by its command line: it is Celery's and bears one of the marks (its node name, its pidfile).
    """
    if process.get(FLEET):
        return process.get(FLEET) == fleet and process.get(NODE) == node
    line = " ".join(process.cmdline)
    return "celery" in line and any(mark and mark in line for mark in marks)


def read_pidfile(path: str) -> int:
    """The pid in a pidfile; 0 when there is no file or no number in it."""
    try:
        text = _bytes(path).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def parse_environ(data: bytes) -> dict[str, str]:
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if b"=" in entry)
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, _sep, value in pairs}


def parse_stat(text: str) -> tuple[str, int, int]:
    """state, ppid and start time of /proc/PID/stat. The name in brackets may hold anything, brackets too."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def catches_interrupt(status: str) -> bool:
    for line in status.splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    return False


def _read_bare(pid: int) -> Process | None:
    try:
        state, ppid, started = parse_stat(_bytes(f"{PROC}/{pid}/stat").decode("utf-8", "replace"))
        if state in "ZX":
            return None
        cmdline = _bytes(f"{PROC}/{pid}/cmdline").decode("utf-8", "replace").split("\0")
        return Process(
            pid,
            ppid,
            started,
            tuple(argument for argument in cmdline if argument),
            None,
            catches_interrupt(_bytes(f"{PROC}/{pid}/status").decode("utf-8", "replace")),
            _bytes(f"{PROC}/{pid}/cgroup").decode("utf-8", "replace"),
        )
    except OSError:
        return None


def _bytes(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _environs(pids: list[int]) -> dict[int, Mapping[str, str]]:
    found: dict[int, Mapping[str, str]] = {}
    for pid in pids:
        try:
            found[pid] = parse_environ(_bytes(f"{PROC}/{pid}/environ"))
        except OSError:
            continue
    return found


def _whoami() -> str:
    return f"uid {os.geteuid()}"
