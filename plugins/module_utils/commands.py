# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the fleet, run with a clean environment, as the fleet's user, with its environment files."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, Any, Callable, Sequence

# What a long-running process may take over from the session that starts it; everything else it needs
# stands in its environment files, so that a start by hand, by Ansible and by systemd are alike.
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")

_SOURCE = 'set -a; while [ "$1" != -- ]; do . "$1"; shift; done; shift; set +a; exec "$@"'


@dataclass(frozen=True)
class Result:
    rc: int
    out: str
    err: str
    timed_out: bool = False

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.out.strip(), self.err.strip()) if part)


def sourced(env_files: Sequence[str], argv: Sequence[str]) -> list[str]:
    """The command, run with these environment files sourced: no secret stands on its command line."""
    if not env_files:
        return list(argv)
    return ["/bin/sh", "-c", _SOURCE, "sh", *env_files, "--", *argv]


def clean_environment(user: str | None = None) -> dict[str, str]:
    entry = _entry(user)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **kept,
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
    }


def run(argv: Sequence[str], timeout: float | None = None, user: str | None = None) -> Result:
    """Run to the end, or until `timeout` seconds are over."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=clean_environment(user),
            preexec_fn=become(user),
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Result(-1, _text(error.stdout), _text(error.stderr), True)
    except OSError as error:
        return Result(127, "", f"{argv[0]}: {error.strerror or error}")
    return Result(done.returncode, _text(done.stdout), _text(done.stderr))


class Launch:
    """A command that starts something in the background.

    Its output goes to a file, not a pipe: what it leaves running may hold a pipe open for ever.
    """

    def __init__(self, argv: Sequence[str], user: str | None = None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the launch
        self._failure = ""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=self._file,
                stderr=subprocess.STDOUT,
                env=clean_environment(user),
                preexec_fn=become(user),
                cwd="/",
            )
        except OSError as error:
            self._failure = f"{argv[0]}: {error.strerror or error}"

    @property
    def rc(self) -> int | None:
        """None while it runs."""
        return 127 if self._process is None else self._process.poll()

    def output(self) -> str:
        if self._failure:
            return self._failure
        self._file.seek(0)
        return _text(self._file.read()).strip()


def become(user: str | None) -> Callable[[], Any] | None:
    """For preexec_fn: turn into this user. None when there is nothing to turn into."""
    if not user or os.geteuid() != 0 or user == "root":
        return None
    entry = _entry(user)

    def change() -> None:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return change


def tail(path: str, lines: int = 30, offset: int = 0) -> str:
    """The last lines of a file from `offset` on; from its beginning when it has become shorter."""
    # 64 KiB hold thirty lines of any sane log and bound what a report carries.
    limit = 65536
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = offset if size >= offset else 0
            stream.seek(max(start, size - limit))
            text = _text(stream.read())
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _entry(user: str | None) -> pwd.struct_passwd:
    if user and os.geteuid() == 0:
        try:
            return pwd.getpwnam(user)
        except KeyError:
            raise LookupError(
                f"there is no user {user} on this host: create it first, or name another one"
            ) from None
    return pwd.getpwuid(os.geteuid())


def _text(data: Any) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else (data or "")
