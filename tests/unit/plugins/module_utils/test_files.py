# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.files import (
    Converger,
    FilesError,
    check_path,
    pack,
    parse_mode,
    replace_link,
    unpack,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_packed_contents_come_back_and_are_not_readable() -> None:
    contents = ["password = hunter2\n", "", "ä\n"]
    assert unpack(pack(contents)) == contents
    assert "hunter2" not in pack(contents)


@pytest.mark.parametrize(("text", "bits"), [("0640", 0o640), ("755", 0o755), ("2750", 0o2750)])
def test_octal_modes(text: str, bits: int) -> None:
    assert parse_mode(text, "/x") == bits


@pytest.mark.parametrize("bad", [416, 644, "u=rw", "0999", "", None])
def test_other_modes_are_refused_with_the_path(bad: object) -> None:
    with pytest.raises(FilesError, match="/etc/x is not an octal mode"):
        parse_mode(bad, "/etc/x")


@pytest.mark.parametrize("bad", ["etc/x", "", "/", "/etc/.."])
def test_paths_that_cannot_be_meant_are_refused(bad: str) -> None:
    with pytest.raises(FilesError):
        check_path(bad)


def test_a_new_file_is_written_with_its_mode_and_its_parents(tmp_path: Path) -> None:
    work = Converger()
    work.file(str(tmp_path / "a" / "b"), "text\n", 0o640)
    assert (tmp_path / "a" / "b").read_text() == "text\n"
    assert mode_of(tmp_path / "a" / "b") == 0o640
    assert work.changed_paths == [str(tmp_path / "a" / "b")]
    assert os.listdir(tmp_path / "a") == ["b"]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    for expected in (4, 0):
        work = Converger()
        work.directory(str(tmp_path / "d"), 0o750)
        work.file(str(tmp_path / "d" / "f"), "x", 0o600)
        work.link(str(tmp_path / "l"), "d/f")
        if expected:
            (tmp_path / "gone").mkdir()
        work.absent(str(tmp_path / "gone"))
        assert len(work.changed_paths) == expected


def test_check_mode_predicts_the_same_paths_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")

    def run(check: bool) -> list[str]:
        work = Converger(check=check)
        work.directory(str(tmp_path / "d"), 0o750)
        work.file(str(tmp_path / "d" / "e" / "f"), "x", 0o600)
        work.link(str(tmp_path / "l"), "d")
        work.absent(str(tmp_path / "old"))
        return work.changed_paths

    predicted = run(True)
    assert os.listdir(tmp_path) == ["old"]
    assert run(False) == predicted


def test_modes_alone_are_converged_and_shown(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0o644)
    work = Converger()
    work.file(str(tmp_path / "f"), "x", 0o600)
    assert mode_of(tmp_path / "f") == 0o600
    assert [(entry["before"], entry["after"]) for entry in work.diffs] == [("mode: 0644\n", "mode: 0600\n")]


def test_a_mask_is_replaced_by_the_file_and_its_target_is_left_alone(tmp_path: Path) -> None:
    target, mask = tmp_path / "target", tmp_path / "mask"
    target.write_text("untouched")
    target.chmod(0o666)
    mask.symlink_to(target)
    Converger().file(str(mask), "unit\n", 0o640)
    assert not mask.is_symlink()
    assert (mask.read_text(), mode_of(mask)) == ("unit\n", 0o640)
    assert (target.read_text(), mode_of(target)) == ("untouched", 0o666)


def test_a_link_with_the_same_content_behind_it_is_still_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("same")
    (tmp_path / "f").symlink_to("target")
    work = Converger()
    work.file(str(tmp_path / "f"), "same", 0o644)
    assert work.changed_paths and not (tmp_path / "f").is_symlink()


def test_a_directory_behind_an_operators_link_is_accepted_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "d").symlink_to("disk")
    work = Converger()
    work.directory(str(tmp_path / "d"), 0o755)
    assert work.changed_paths == []
    assert mode_of(tmp_path / "disk") == 0o700


def test_a_link_replaces_a_file_but_never_a_directory(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    Converger().link(str(tmp_path / "f"), "/dev/null")
    assert os.readlink(tmp_path / "f") == "/dev/null"
    (tmp_path / "d").mkdir()
    with pytest.raises(FilesError, match="is a directory where a link"):
        Converger().link(str(tmp_path / "d"), "/dev/null")


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_kind_is_named_with_the_remedy(tmp_path: Path, check: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    with pytest.raises(FilesError, match="is a directory where a file is wanted: move it away"):
        Converger(check=check).file(str(tmp_path / "d"), "x", 0o644)
    with pytest.raises(FilesError, match="is a file where a directory is wanted"):
        Converger(check=check).directory(str(tmp_path / "f"), 0o755)


def test_an_owner_not_there_yet_is_predicted_in_check_mode_and_refused_otherwise(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    work = Converger(check=True)
    work.file(str(tmp_path / "f"), "x", 0o644, owner="no-such-user", group="no-such-group")
    assert work.changed_paths == [str(tmp_path / "f")]
    assert "no-such-user" in work.diffs[0]["after"]
    with pytest.raises(FilesError, match=r"'no-such-user'.*create it first"):
        Converger().file(str(tmp_path / "f"), "x", 0o644, owner="no-such-user")


def test_a_secret_never_stands_in_the_diff(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("old-secret\n")
    work = Converger()
    work.file(str(tmp_path / "s"), "new-secret\n", 0o600, secret=True)
    assert "old-secret" not in str(work.diffs) and "new-secret" not in str(work.diffs)
    assert work.changed_paths == [str(tmp_path / "s")]


def test_removing_a_link_leaves_what_it_points_at(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    Converger().absent(str(tmp_path / "l"))
    assert os.listdir(tmp_path) == ["d"]


def test_a_top_level_directory_is_never_removed() -> None:
    with pytest.raises(FilesError, match="top-level"):
        Converger(check=True).absent("/usr")


def test_a_failed_write_leaves_no_scratch_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("old")

    def broken(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space"):
        Converger().file(str(tmp_path / "f"), "new", 0o644)
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "old"


def test_replace_link_swaps_an_existing_link(tmp_path: Path) -> None:
    for target in ("one", "two"):
        replace_link(str(tmp_path / "current"), target)
        assert os.readlink(tmp_path / "current") == target
    assert os.listdir(tmp_path) == ["current"]
