# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the commands of a build on the host, and keeps what they say."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.release.output import scrub, tail
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError


class Log:
    """The log of one build: commands with their output. Nothing secret stands on a command line."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        self.stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb")

    def say(self, text: str) -> None:
        self.stream.write(text.encode("utf-8", "replace") + b"\n")
        self.stream.flush()

    def text(self) -> str:
        with open(self.path, encoding="utf-8", errors="replace") as stream:
            return stream.read()


class Runner:
    """Runs the commands of a build with the host's own environment (proxies, indexes, certificates)."""

    def __init__(
        self,
        log: Log,
        timeout: float,
        lock: int,
        environment: t.Mapping[str, str],
        secrets: t.Collection[str] = (),
    ) -> None:
        self._log = log
        self._timeout = timeout
        self._lock = lock
        self._secrets = secrets
        self.environment = dict(os.environ, **environment)
        # They would lead the build into the virtualenv that Ansible itself runs from.
        for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"):
            self.environment.pop(name, None)

    def run(
        self,
        argv: t.Sequence[str],
        doing: str,
        cwd: str = "/",
        extra: t.Mapping[str, str] | None = None,
        tolerate: bool = False,
    ) -> str:
        """Run a command and return its output; raise with that output when it fails, unless tolerated."""
        self._log.say("+ " + " ".join(argv))
        start = self._log.stream.tell()
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(self.environment, **(extra or {})),
                stdin=subprocess.DEVNULL,
                stdout=self._log.stream,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
                start_new_session=True,
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),
            )
        except OSError as error:
            raise ReleaseError(f"{doing}: {argv[0]} cannot be run: {error.strerror}") from None
        try:
            code = process.wait(self._timeout)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ReleaseError(
                    f"{doing} took longer than {self._timeout:g} s and was ended: raise "
                    f"celery_app_build_timeout, or see what it waits for in {self._log.path}\n"
                    f"{self._output(start)}"
                ) from None
            raise
        output = self._output(start)
        if code and not tolerate:
            raise ReleaseError(
                f"{doing} failed with code {code}; the whole output is in {self._log.path}, its end is:\n"
                + tail(output)
            )
        return output

    def _output(self, start: int) -> str:
        with open(self._log.path, "rb") as stream:
            stream.seek(start)
            return scrub(stream.read().decode("utf-8", "replace"), self._secrets)


def _die_with_parent(parent: int) -> None:
    """An interrupted play must not leave an installer that writes on: the next run would wait for it."""
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; Linux alone has it
    if os.getppid() != parent:
        # Killed before this process had asked to be told.
        os._exit(1)


# -- interpreters ---------------------------------------------------------------------------------
