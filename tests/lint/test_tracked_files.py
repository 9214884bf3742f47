"""Nothing that is tracked knows the machine it was written on, or where that machine gets its packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOREIGN_PATH = re.compile(r"(?<![\w.})~-])/(?:Users|builds|farm|work|workspace)/\w")
URL_HOST = re.compile(r"\b(?:https?|ftp)://(?:[^\s/@\"'`]*@)?([A-Za-z0-9.-]+)")
# Hosts that text may name: documentation, licences, and those that are nobody's.
HOSTS = re.compile(
    r"""(?:.*\.)?(?:
      localhost | 127\.\d+\.\d+\.\d+ | example\.(?:com|net|org) | [\w-]+\.(?:example|invalid|test)
    | gnu\.org | docs\.(?:ansible\.com|celeryq\.dev|djangoproject\.com|python\.org)
    | keepachangelog\.com | semver\.org
    | redis\.io | valkey\.io | flower\.readthedocs\.io | (?:www\.)?freedesktop\.org
    )""",
    re.VERBOSE,
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


@pytest.fixture(scope="session")
def lines(root: Path, tracked: list[Path]) -> list[tuple[str, str]]:
    """Every line of text with the place where it stands; the licence and this file's own patterns apart."""
    own = Path(__file__).resolve().relative_to(root)
    texts = [name for name in tracked if name not in (Path("LICENSE"), own)]
    return [
        (f"{name}:{number}", line)
        for name in texts
        for number, line in enumerate((root / name).read_text(errors="replace").splitlines(), 1)
    ]


def test_no_path_of_one_machine(lines: list[tuple[str, str]]) -> None:
    assert [place for place, line in lines if FOREIGN_PATH.search(line)] == []


def test_no_host_that_is_not_known(lines: list[tuple[str, str]]) -> None:
    found = {(place, host) for place, line in lines for host in URL_HOST.findall(line) if "." in host}
    assert sorted((place, host) for place, host in found if not HOSTS.fullmatch(host)) == []


def test_requirements_name_no_index(root: Path) -> None:
    option = re.compile(
        r"^\s*(?:-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b|@\s*\w+://", re.MULTILINE
    )
    assert [str(path) for path in root.glob("requirements/*") if option.search(path.read_text())] == []


def test_nothing_is_left_unfinished(lines: list[tuple[str, str]]) -> None:
    assert [place for place, line in lines if UNFINISHED.search(line)] == []


def test_nothing_tracked_is_ignored(root: Path, tracked: list[Path]) -> None:
    built = {".cache", ".local", ".venv", "__pycache__"}
    assert [str(name) for name in tracked if built & set(name.parts)] == []
