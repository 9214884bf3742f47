"""README shows every make target together with the plain command it stands for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def command(target: str) -> str:
    """The command that a target runs; what it prepares silently apart."""
    # The tests may themselves be run by make, which would then say where it is.
    dry = ["make", "--no-print-directory", "--dry-run", target]
    done = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1].strip()


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "help"])
def test_readme_shows(target: str) -> None:
    readme = (ROOT / "README.md").read_text()
    plain = command(target)
    assert f"`make {target}`" in readme or f"`{target}`" in readme
    # The four suites may be shown by the example of one.
    assert plain in readme or plain.removesuffix(f" {target}") in readme
