# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe what preflight judges: filesystems, interpreters, addresses, systemd. Leaves nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import run
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import Interpreter, Space

_MORE_PATH = ("/usr/local/bin", "/usr/bin", "/bin")

_ASK_PYTHON = (
    "import json, sys; from importlib.util import find_spec;"
    "print(json.dumps(['%d.%d.%d' % sys.version_info[:3], all(map(find_spec, ('venv', 'ensurepip')))]))"
)


def nearest_existing(path: str) -> str:
    """The path itself, or the nearest above it that exists. A broken link exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def look_at(space: Space) -> Space:
    """Complete what is known about a path by what the system says."""
    if not os.path.isabs(space.path):
        return space
    try:
        base = nearest_existing(space.path)
        if not os.path.isdir(base):
            return dataclasses.replace(space, base=base, is_folder=False)
        refused = why_not_writable(base)
        room = os.statvfs(base)
    except OSError as error:
        return dataclasses.replace(space, base=os.path.dirname(space.path), refused=_reason(error))
    return dataclasses.replace(
        space,
        base=base,
        refused=refused,
        noexec=bool(room.f_flag & os.ST_NOEXEC),
        device=os.stat(base).st_dev,
        free=room.f_bavail * room.f_frsize,
        # A filesystem that makes inodes as it needs them reports none at all.
        inodes=room.f_favail if room.f_files else None,
    )


def why_not_writable(folder: str) -> str:
    """Try to create something in a folder: empty when that works. Permission bits tell only half of it."""
    try:
        # A file that never has a name cannot be left behind, whatever happens.
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
        return ""
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            return _reason(error)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".celery-preflight.", dir=folder))
    except OSError as error:
        return _reason(error)
    return ""


def _reason(error: OSError) -> str:
    who = "root" if os.geteuid() == 0 else f"user id {os.geteuid()}"
    return f"{error.strerror or error} (as {who})"


def ask_python(one: Interpreter) -> Interpreter:
    """Complete an interpreter by what it says of itself. uv builds a virtualenv without its help."""
    path = find_program(one.executable)
    if not path:
        return one
    answer = run([path, "-c", _ASK_PYTHON], timeout=30)
    if answer.rc != 0:
        return dataclasses.replace(one, said=(answer.text.splitlines() or [f"exit status {answer.rc}"])[-1])
    version, has_venv = json.loads(answer.out)
    return dataclasses.replace(one, version=version, builds=has_venv or bool(find_program("uv")))


def find_program(name: str) -> str:
    """The path of a program. The PATH of a task is often shorter than that of a login."""
    places = [os.environ.get("PATH", ""), *_MORE_PATH, os.path.expanduser("~/.local/bin")]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


def is_own_address(address: str) -> bool:
    """Whether a socket of this host can have the address: tried with a port of the system's choice."""
    try:
        family, kind, protocol, _name, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(where)
    except OSError:
        return False
    return True


def resolve(address: str) -> str:
    """A host name's address, an address as it is written in the system's tables; unchanged when unknown."""
    try:
        return str(socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return address


def unprivileged_from() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as setting:
            return int(setting.read())
    except (OSError, ValueError):
        return 1024


def systemd_version() -> int:
    """0 where systemctl is not found or does not answer."""
    found = re.match(r"systemd (\d+)", run(["systemctl", "--version"], timeout=30).out)
    return int(found.group(1)) if found else 0


def processes_here() -> Mapping[int, Process]:
    """Every process of this host, without those in containers: they are hosts of their own."""
    return processes.read_many(pid for pid in processes.all_pids() if not _is_contained(pid))


def _is_contained(pid: int) -> bool:
    try:
        with open(f"{processes.PROC}/{pid}/status", encoding="utf-8", errors="replace") as status:
            return is_nested(status)
    except OSError:
        return True


def is_nested(status: Iterable[str]) -> bool:
    """Whether /proc/PID/status names several pids: one for each pid namespace from here to the process."""
    return any(line.startswith("NSpid:") and len(line.split()) > 2 for line in status)


def pids_of(pidfiles: Iterable[str]) -> dict[str, int]:
    return {path: processes.read_pidfile(path) for path in pidfiles if path and os.access(path, os.R_OK)}
