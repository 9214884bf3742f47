# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on this host: who listens on a port, which process is which, where there is room."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import socket
import subprocess
from typing import Iterable, NamedTuple

from ansible_collections.celeryops.fleet.plugins.module_utils import sockets

_NAME_LENGTH = 80  # characters of a process in a message
_SERVERS = ("redis-server", "valkey-server")


class Listener(NamedTuple):
    """A process that listens; pid is None when this user may not see it."""

    pid: int | None
    name: str


def who_listens(port: int) -> Listener | None:
    """The process that listens on a TCP port of this host, when the system tells."""
    found = sockets.with_pids(one for one in sockets.listeners() if one.port == port)
    if not found:
        return None
    pid = next((one.pid for one in found if one.pid), None)
    return Listener(pid, process_name(pid)) if pid else Listener(None, "a process of another user")


def ports_of(pid: int) -> list[int]:
    """TCP ports on which a process listens."""
    ports = {one.inode: one.port for one in sockets.listeners()}
    return sorted({ports[inode] for inode in sockets.holders([pid], set(ports))})


def process_name(pid: int) -> str:
    """What to call a process in a message."""
    return shortened(_command_line(pid)) or "process %d" % pid


def shortened(command_line: str) -> str:
    """A command line of a message's length: the program's folder goes first, then the end."""
    program, space, arguments = command_line.partition(" ")
    if len(command_line) > _NAME_LENGTH:
        command_line = os.path.basename(program) + space + arguments
    return command_line[:_NAME_LENGTH]


def _command_line(pid: int) -> str:
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as cmdline:
            return cmdline.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return _ps(pid, "args=")


def _ps(pid: int, column: str) -> str:
    try:
        done = subprocess.run(["ps", "-p", str(pid), "-o", column], stdout=subprocess.PIPE, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def is_server(pid: int) -> bool:
    """True when the process lives and is a Redis or Valkey server; a recycled pid is not taken for one."""
    try:
        os.kill(pid, 0)
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                return False
    except (ProcessLookupError, IndexError):
        return False
    except OSError:
        pass
    return any(name in _command_line(pid) for name in _SERVERS)


def read_pid(path: str) -> int | None:
    """The pid in a pid file, or None."""
    try:
        with open(path, encoding="ascii") as pidfile:
            return int(pidfile.read().strip())
    except (OSError, ValueError):
        return None


def bind_problem(address: str, port: int) -> str | None:
    """Try to listen: None, or "in use", "denied" or "no such address".

    With Redis' mark ``-`` the address may be missing.
    """
    name = {"*": "0.0.0.0", "::*": "::"}.get(address.lstrip("-"), address.lstrip("-"))
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None if address.startswith("-") else "no such address"
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((name, port))
            probe.listen(1)
        except socket.gaierror:
            return "no such address"
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return "in use"
            if exc.errno in (errno.EACCES, errno.EPERM):
                return "denied"
            if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return None if address.startswith("-") else "no such address"
            raise
    return None


def nearest_existing(path: str) -> str:
    """The path itself or the nearest folder above it that exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path) or "/"
    return path


def room_problem(path: str, needed: int) -> str | None:
    """Why a folder cannot be made and filled at ``path``, or None."""
    base = nearest_existing(path)
    if not os.path.isdir(base):
        return f"{base} is not a folder"
    if not os.access(base, os.W_OK | os.X_OK):
        return f"{base} cannot be written by this user"
    free = shutil.disk_usage(base).free
    if free < needed:
        return "%s has %d MB left, %d MB are needed" % (base, free // 2**20, needed // 2**20)
    return None


def newest(patterns: Iterable[str]) -> float | None:
    """When the newest of the files was last written, or None when there is none."""
    times = [os.path.getmtime(path) for pattern in patterns for path in glob.glob(pattern)]
    return max(times) if times else None


def run(
    argv: Iterable[str], timeout: float = 60, data: str | None = None, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a command to its end; returns its exit status (127: no such command) and all it said."""
    try:
        done = subprocess.run(
            list(argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            input=data.encode() if data is not None else None,
            env=env,
            stdin=subprocess.DEVNULL if data is None else None,
        )
    except OSError as exc:
        return 127, str(exc)
    except subprocess.TimeoutExpired:
        return 124, "no end within %d seconds" % timeout
    return done.returncode, done.stdout.decode("utf-8", "replace")


def tail(path: str, offset: int = 0, lines: int = 15) -> str:
    """The last lines of a log, of what was written behind ``offset``."""
    try:
        with open(path, "rb") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(offset if offset <= size else 0, size - 16384))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(re.sub(r"\s+$", "", line) for line in text.splitlines()[-lines:])
