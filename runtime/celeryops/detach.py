"""Run a command in the background under a pid file, for hosts without a service manager."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from celery.platforms import Pidfile, signals

UMASK = 0o027


class DetachError(Exception):
    """The command was not started."""


def detach(argv: Sequence[str], pidfile: str, logfile: str, chdir: str | None = None) -> int:
    """Start `argv` as a daemon and return its pid once it has really been executed.

    Parameters:
        argv: The command; it is looked up on PATH.
        pidfile: Written before the command begins; the command keeps that pid.
        logfile: Takes stdout and stderr.
        chdir: Working directory.

    Raises:
        DetachError: With the reason.
    """
    running = living_pid(pidfile, os.environ.get("CELERYOPS_NODE", ""))
    if running:
        raise DetachError(f"{pidfile} names process {running}, which is alive: stop it first")
    executable = shutil.which(argv[0])
    if executable is None:
        raise DetachError(f"{argv[0]} is not an executable file on PATH")
    try:
        log = os.open(logfile, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    except OSError as exc:
        raise DetachError(f"the log file cannot be opened: {exc}") from exc

    # The write end closes by itself when exec succeeds; whatever comes through it is an error.
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        _become_daemon(executable, list(argv), pidfile, log, chdir, sender)
    os.close(sender)
    os.close(log)
    os.waitpid(child, 0)
    with os.fdopen(receiver, encoding="utf-8") as pipe:
        error = pipe.read()
    if error:
        raise DetachError(error)
    return int(Path(pidfile).read_text(encoding="ascii"))


def living_pid(pidfile: str, node: str) -> int:
    """The pid in a pid file if that process lives and is the node meant, else 0.

    A recycled pid belongs to a process with another CELERYOPS_NODE or none.
    """
    try:
        pid = int(Pidfile(pidfile).read_pid() or 0)
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, ValueError):
        return 0
    if pid <= 0:
        return 0
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return pid
    return pid if not node or f"CELERYOPS_NODE={node}".encode() in environ else 0


def _become_daemon(
    executable: str, argv: list[str], pidfile: str, log: int, chdir: str | None, sender: int
) -> None:
    try:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        signals.reset("SIGCLD")
        os.umask(UMASK)
        if chdir:
            os.chdir(chdir)
        null = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        fresh = Path(f"{pidfile}.new")
        fresh.write_text(f"{os.getpid()}\n", encoding="ascii")
        fresh.replace(pidfile)
        os.execv(executable, argv)
    except BaseException as exc:
        os.write(sender, f"{argv[0]} was not started: {exc}".encode())
        os._exit(1)
