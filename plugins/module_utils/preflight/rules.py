# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must be like before a fleet is put on it. Pure judgement over what was observed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import FLEET, NODE, Process
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import schedulers
from ansible_collections.celeryops.fleet.plugins.module_utils.sockets import Listener, overlap

RUN_DIR = "CELERYOPS_RUN_DIR"

# sun_path of sockaddr_un holds 108 bytes, its closing NUL included (unix(7)).
SOCKET_PATH_BYTES = 107

# Type=exec, which the units of the dashboard use, came with it (systemd 240, NEWS).
SYSTEMD_MINIMUM = 240


@dataclass(frozen=True)
class Problem:
    """value at place cannot work for this reason; the remedy says what to change."""

    place: str
    value: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place} ({self.value}): {self.reason}. {self.remedy}."


@dataclass(frozen=True)
class Deployment:
    """Which processes are this fleet's own: two fleets of one name under two prefixes are strangers.

    former: the name that the fleet has had so far, by which it still runs.
    """

    fleet: str = ""
    run_dir: str = ""
    app: str = ""
    former: str = ""

    def owns(self, process: Process) -> bool:
        name = process.get(FLEET)
        if not name or name not in (self.fleet, self.former):
            return False
        run_dir = os.path.join(os.path.dirname(self.run_dir), name) if name == self.former else self.run_dir
        return not self.run_dir or process.get(RUN_DIR) in (run_dir, None)


@dataclass(frozen=True)
class Port:
    """A port that a process of the fleet wants to listen on."""

    port: int
    address: str
    purpose: str
    variable: str
    pidfile: str = ""

    @property
    def where(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Space:
    """A path that the fleet will create or fill, and what was found about it.

    base: the path itself or the nearest folder above it that exists. refused: why nothing can be created in
    there, in the system's words. free and inodes are None where the filesystem does not tell.
    """

    path: str
    purpose: str
    variable: str
    needed: int = 0
    inodes_needed: int = 0
    executes: bool = False
    base: str = ""
    is_folder: bool = True
    refused: str = ""
    noexec: bool = False
    device: int = 0
    free: int | None = None
    inodes: int | None = None


@dataclass(frozen=True)
class Interpreter:
    """A Python that will build virtualenvs. Without a version it does not run; said: what it said then."""

    executable: str
    minimum: str
    variable: str
    purpose: str = "virtualenvs"
    version: str = ""
    builds: bool = True
    said: str = ""


def collides(port: Port, listener: Listener) -> bool:
    return port.port == listener.port and overlap(port.address, listener.address)


def port_problems(
    wanted: Sequence[Port],
    listeners: Mapping[Port, Sequence[tuple[Listener, Process | None]]],
    missing_addresses: Iterable[str],
    unprivileged_from: int,
    ours: Deployment,
    pids: Mapping[str, int],
) -> list[Problem]:
    """Ports that cannot be had.

    Args:
        wanted: what the fleet wants.
        listeners: who listens on the same port of an address in the way, with the process where it is known.
        missing_addresses: those of the wanted addresses that are none of this host's.
        unprivileged_from: the first port that a process without privileges may listen on.
        ours: tells the fleet's own processes.
        pids: the pid in each pidfile.
    """
    problems = _ports_wanted_twice(wanted)
    missing = set(missing_addresses)
    for port in wanted:
        place = f"{port.variable}, for {port.purpose}"
        if port.address in missing:
            problems.append(
                Problem(
                    place,
                    port.where,
                    f"{port.address} is no address of this host",
                    "Use one of its own, such as 127.0.0.1",
                )
            )
            continue
        strangers = [
            (listener, process)
            for listener, process in listeners.get(port, ())
            if not _is_own(listener, process, port, ours, pids)
        ]
        if strangers:
            listener, process = strangers[0]
            problems.append(
                Problem(
                    place,
                    port.where,
                    f"is in use by {describe(listener, process)}, which is no part of this fleet",
                    f"Stop that process, or set {port.variable} to a free port",
                )
            )
        elif port.port < unprivileged_from:
            problems.append(
                Problem(
                    place,
                    port.where,
                    f"only root may listen below port {unprivileged_from}, and {port.purpose} is not root",
                    f"Set {port.variable} to {unprivileged_from} or more, and put a proxy in front of it",
                )
            )
    return problems


def _ports_wanted_twice(wanted: Sequence[Port]) -> list[Problem]:
    return [
        Problem(
            f"{first.variable} and {second.variable}",
            f"{first.where} and {second.where}",
            f"{first.purpose} and {second.purpose} cannot listen on one port",
            f"Give {second.variable} another port",
        )
        for place, first in enumerate(wanted)
        for second in wanted[place + 1 :]
        if first.port == second.port and overlap(first.address, second.address)
    ]


def _is_own(
    listener: Listener, process: Process | None, port: Port, ours: Deployment, pids: Mapping[str, int]
) -> bool:
    if listener.pid and pids.get(port.pidfile) == listener.pid:
        return True
    return process is not None and ours.owns(process)


def describe(listener: Listener, process: Process | None) -> str:
    """The process behind a socket, as an operator would look for it."""
    if not listener.pid:
        return f"a process of user id {listener.uid} that may not be looked into"
    command = " ".join(process.cmdline)[:120] if process else ""
    return f"process {listener.pid} ({command or 'no command line'})"


def path_problems(spaces: Sequence[Space]) -> list[Problem]:
    """Paths that cannot be made or filled, and filesystems without the room for all of them together."""
    problems = []
    for space in spaces:
        place = f"{space.variable}, for {space.purpose}"
        if not os.path.isabs(space.path):
            problems.append(Problem(place, space.path, "is no absolute path", "Write it from the root on"))
        elif not space.is_folder:
            problems.append(
                Problem(
                    place,
                    space.path,
                    f"{space.base} exists and is no folder",
                    f"Move it away, or set {space.variable} to another path",
                )
            )
        elif space.refused:
            problems.append(
                Problem(
                    place,
                    space.path,
                    f"nothing can be created in {space.base}: {space.refused}",
                    f"Let this user write there, become root, or set {space.variable} to another path",
                )
            )
        elif space.executes and space.noexec:
            problems.append(
                Problem(
                    place,
                    space.path,
                    f"the filesystem of {space.base} is mounted noexec, so no program starts from it",
                    f"Mount it without noexec, or set {space.variable} to a path elsewhere",
                )
            )
    return problems + _room_problems(spaces)


def _room_problems(spaces: Sequence[Space]) -> list[Problem]:
    by_device: dict[int, list[Space]] = {}
    for space in spaces:
        if os.path.isabs(space.path) and space.is_folder and not space.refused:
            by_device.setdefault(space.device, []).append(space)
    problems = []
    for ones in by_device.values():
        place = ", ".join(dict.fromkeys(one.variable for one in ones))
        value = ", ".join(one.path for one in ones)
        purposes = " and ".join(dict.fromkeys(one.purpose for one in ones))
        free, needed = ones[0].free, sum(one.needed for one in ones)
        if free is not None and free < needed:
            problems.append(
                Problem(
                    place,
                    value,
                    f"the filesystem has {_size(free)} left, {_size(needed)} are needed for {purposes}",
                    "Free some room there, or choose a path on another filesystem",
                )
            )
        inodes, inodes_needed = ones[0].inodes, sum(one.inodes_needed for one in ones)
        if inodes is not None and inodes < inodes_needed:
            problems.append(
                Problem(
                    place,
                    value,
                    f"the filesystem can take {inodes} more files, {inodes_needed} are needed for {purposes}",
                    "Remove files there, or choose a path on another filesystem",
                )
            )
    return problems


def _size(count: int) -> str:
    return f"{count / 1000**3:.1f} GB" if count >= 1000**3 else f"{count / 1000**2:.0f} MB"


def socket_problems(sockets: Iterable[tuple[str, str, str]]) -> list[Problem]:
    """Unix socket paths (path, purpose, variable) that the kernel would cut off."""
    return [
        Problem(
            f"{variable}, for {purpose}",
            path,
            f"the path of a socket may have {SOCKET_PATH_BYTES} bytes, this one has {len(os.fsencode(path))}",
            f"Choose a shorter path for {variable}",
        )
        for path, purpose, variable in sockets
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES
    ]


def python_problems(interpreters: Iterable[Interpreter]) -> list[Problem]:
    problems = []
    for one in interpreters:
        place = f"{one.variable}, for {one.purpose}"
        newer = f"Install a newer Python, or set {one.variable} to the path of one"
        if not one.version:
            reason = f"does not run: {one.said or 'no such program'}"
            problems.append(Problem(place, one.executable, reason, newer))
        elif version_of(one.version) < version_of(one.minimum):
            reason = f"is Python {one.version}, {one.minimum} or newer is needed"
            problems.append(Problem(place, one.executable, reason, newer))
        elif not one.builds:
            problems.append(
                Problem(
                    place,
                    one.executable,
                    f"Python {one.version} has no venv module with pip in it (ensurepip), and there is no uv",
                    "Install it (Debian and Ubuntu: apt install python3-venv), or install uv",
                )
            )
    return problems


def systemd_problems(version: int, running: bool, variable: str) -> list[Problem]:
    """version is 0 where systemctl is not found or does not answer."""
    remedy = f"Set {variable} to multi for this host"
    if not running:
        return [Problem(variable, "systemd", "systemd is not the service manager of this host", remedy)]
    if version < SYSTEMD_MINIMUM:
        found = f"this host's is {version}" if version else "systemctl does not tell its version"
        return [
            Problem(variable, "systemd", f"systemd {SYSTEMD_MINIMUM} or newer is needed, {found}", remedy)
        ]
    return []


def scheduler_problems(processes: Mapping[int, Process], ours: Deployment) -> list[Problem]:
    """Processes that would send this application's scheduled tasks beside the fleet's own beat.

    A process of another deployment is its own business. One whose environment may not be read belongs to
    another user; it might be anything, so it is not judged here.
    """
    sending = {pid: one for pid, one in processes.items() if _sends_for(one, ours)}
    problems = []
    for pid, one in sorted(sending.items()):
        if one.ppid in sending:  # a pool child shows its parent's command line
            continue
        command = schedulers.parse(one.cmdline)
        line = " ".join(one.cmdline)[:160]
        if command is not None and command.embedded_beat:
            reason = "is a worker with a beat in it (-B): it sends every scheduled task once more"
            remedy = "Remove -B or --beat from its options and restart it; the fleet has a beat of its own"
        else:
            reason = "is a second beat for this application: every scheduled task would be sent twice"
            remedy = "Stop and disable it; the fleet brings a beat of its own"
        problems.append(Problem(f"process {pid}", line, reason, remedy))
    return problems


def _sends_for(process: Process, ours: Deployment) -> bool:
    command = schedulers.parse(process.cmdline)
    if command is None or not command.schedules or process.environ is None:
        return False
    if ours.owns(process):
        return command.embedded_beat or process.get(NODE) != "beat"
    if process.get(FLEET):
        return False
    return schedulers.same_app(command.app or process.get("CELERY_APP") or "", ours.app)


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
