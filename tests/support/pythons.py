"""The Pythons of this machine, for what must bear that one of them is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NAMES = ("python3.10", "python3.11", "python3.12", "python3.13")


def interpreters() -> list[Path]:
    """Those that can run a fleet, one of each minor version, our own first."""
    folders = [Path(name) for name in os.environ["PATH"].split(":")]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.base_prefix)"
    found: dict[str, Path] = {}
    for candidate in [Path(sys.executable), *(folder / name for folder in folders for name in NAMES)]:
        if not candidate.exists():
            continue
        done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True)
        if done.returncode == 0:
            version, prefix = done.stdout.strip().split(" ", 1)
            found.setdefault(version, Path(prefix) / "bin" / f"python{version}")
    return list(found.values())
