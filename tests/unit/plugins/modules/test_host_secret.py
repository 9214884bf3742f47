"""A secret is made once, is fit for every place it is used in, and is never replaced."""

from __future__ import annotations

import re
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.modules import host_secret


def test_needs_no_quoting_anywhere() -> None:
    for length in (16, 32, 64):
        value = host_secret.generate(length)
        assert re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{{length - 1}}}", value)
    assert len({host_secret.generate(32) for _ in range(100)}) == 100


def test_is_created_whole_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "etc/redis/password"
    assert host_secret.create(str(path), "the-secret-of-this-test", 0o600)
    assert path.read_text() == "the-secret-of-this-test\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o755
    assert [entry.name for entry in path.parent.iterdir()] == ["password"]
    assert host_secret.existing(str(path)) == "the-secret-of-this-test"


def test_an_existing_one_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("short\n")
    assert not host_secret.create(str(path), "another", 0o600)
    assert host_secret.existing(str(path)) == "short"
    assert [entry.name for entry in tmp_path.iterdir()] == ["password"]


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    path = str(tmp_path / "password")
    won: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda number=number: won.append(host_secret.create(path, f"n{number}", 0o600))
        )
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1


def test_what_is_there_but_no_secret_is_refused(tmp_path: Path) -> None:
    assert host_secret.existing(str(tmp_path / "none")) is None
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "lines").write_text("a\nb\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    for name, word in (
        ("empty", "empty"),
        ("lines", "several lines"),
        ("link", "no plain file"),
        ("folder", "no plain file"),
    ):
        with pytest.raises(ValueError, match=word):
            host_secret.existing(str(tmp_path / name))
