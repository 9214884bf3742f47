"""Runs a program in a cgroup with a limit of memory, by what the machine allows."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

V1 = Path("/sys/fs/cgroup/memory")


@contextlib.contextmanager
def limited(size: int) -> Iterator[list[str] | None]:
    """Words to put before a command that give it and its children so many bytes; None where nothing can."""
    scope = _scope(size)
    if scope:
        yield scope
        return
    folder = _v1_folder(size)
    if folder is None:
        yield None
        return
    try:
        yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    finally:
        # Its last process may be gone a moment after it was waited for.
        subprocess.run(
            ["sh", "-c", f"for i in 1 2 3 4 5; do rmdir {folder} 2>/dev/null && break; sleep 1; done"],
            check=False,
        )


def _scope(size: int) -> list[str] | None:
    """systemd, of the machine for root and of the session for others."""
    if not Path("/run/systemd/system").is_dir() or not shutil.which("systemd-run"):
        return None
    words = ["systemd-run", *([] if os.geteuid() == 0 else ["--user"]), "--scope", "--quiet"]
    words += ["-p", f"MemoryMax={size}", "-p", "MemorySwapMax=0", "--"]
    return (
        words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else None
    )


def _v1_folder(size: int) -> Path | None:
    """A folder below this process's own, which root may make where cgroups are of version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        (own,) = [line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == "memory"]
        top = V1 / own.strip("/")
        folder = (top if top.is_dir() else V1) / f"celeryops-bench-{os.getpid()}"
        folder.mkdir()
    except (OSError, ValueError):
        return None
    try:
        (folder / "memory.limit_in_bytes").write_text(str(size))
    except OSError:
        folder.rmdir()
        return None
    # Where there is swap, a process would be moved there instead of being killed.
    with contextlib.suppress(OSError):
        (folder / "memory.memsw.limit_in_bytes").write_text(str(size))
    return folder
