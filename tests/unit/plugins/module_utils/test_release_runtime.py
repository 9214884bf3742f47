# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.release import runtime
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError

ROOT = Path(__file__).resolve().parents[4]


def test_the_runtime_becomes_a_distribution_with_its_entry_point() -> None:
    files = runtime.runtime_files(str(ROOT / "runtime"))
    info = next(name.split("/")[0] for name in files if name.endswith("/METADATA"))
    assert b"celery.commands" in files[f"{info}/entry_points.txt"]
    assert "celeryops/cli.py" in files
    assert not [name for name in files if "__pycache__" in name]
    recorded = {row[0] for row in csv.reader(files[f"{info}/RECORD"].decode().splitlines())}
    assert recorded == set(files)


def test_the_runtimes_hash_follows_its_content() -> None:
    files = {"a": b"1", "b": b"2"}
    assert runtime.runtime_hash(files) == runtime.runtime_hash(dict(reversed(files.items())))
    assert runtime.runtime_hash(files) != runtime.runtime_hash({**files, "b": b"3"})


def test_a_runtime_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="install the collection anew"):
        runtime.runtime_files(str(tmp_path))
