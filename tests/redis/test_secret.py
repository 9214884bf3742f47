"""The module that keeps a secret, run as a module."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.support.collection import run_module


def test_from_nothing_to_no_change(tmp_path: Path) -> None:
    path = tmp_path / "etc/password"
    foreseen = run_module("host_secret", {"path": str(path)}, check=True, diff=True)
    assert foreseen["changed"] and foreseen["value"] == "not-generated-yet" and not path.parent.exists()
    made = run_module("host_secret", {"path": str(path), "length": 40}, diff=True)
    assert made["changed"] and made["generated"] and len(made["value"]) == 40
    assert made["value"] not in str(made["diff"])
    again = run_module("host_secret", {"path": str(path), "length": 20})
    assert not again["changed"] and not again["generated"] and again["value"] == made["value"]


def test_a_mode_that_drifted_is_set_right(tmp_path: Path) -> None:
    path = tmp_path / "password"
    value = run_module("host_secret", {"path": str(path)})["value"]
    path.chmod(0o644)
    assert run_module("host_secret", {"path": str(path)}, check=True)["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    result = run_module("host_secret", {"path": str(path)})
    assert result["changed"] and result["value"] == value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run_module("host_secret", {"path": str(path), "mode": "0640"})["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_short_lengths_and_odd_files_are_refused(tmp_path: Path) -> None:
    said = run_module("host_secret", {"path": str(tmp_path / "password"), "length": 8})
    assert said["failed"] and "at least 16" in said["msg"]
    (tmp_path / "empty").touch()
    said = run_module("host_secret", {"path": str(tmp_path / "empty")})
    assert said["failed"] and "empty" in said["msg"]
