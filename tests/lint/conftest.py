"""What the checks look at: the tracked files, and the collection as a user installs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Paths of all tracked regular files, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    return [name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built from the checkout and installed from its tarball: a collections path."""
    place = tmp_path_factory.mktemp("galaxy")
    _galaxy("build", "--output-path", str(place), cwd=ROOT)
    (tarball,) = place.glob("*.tar.gz")
    _galaxy("install", str(tarball), "--offline", "--collections-path", str(place), cwd=place)
    return place


def _galaxy(*words: str, cwd: Path) -> None:
    done = subprocess.run(["ansible-galaxy", "collection", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
