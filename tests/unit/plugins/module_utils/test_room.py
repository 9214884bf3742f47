"""What counts as a full disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils import room
from ansible_collections.celeryops.fleet.plugins.module_utils.room import Room


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    found = room.look(str(tmp_path / "not" / "there"))
    assert found.folder == str(tmp_path) and found.free > 0


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/opt/celery/shop/releases/1/src/a"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("pip: ERROR: Could not install packages due to an OSError: [Errno 28] No space left"),
        RuntimeError("error: failed to write to file: No space left on device (os error 28)"),
    ],
)
def test_what_says_so_is_believed(tmp_path: Path, error: Exception) -> None:
    text = room.shortage(error, [str(tmp_path), ""])
    assert text.startswith(f"The disk is full: {tmp_path} has ") and " bytes" in text


def test_what_says_nothing_is_judged_by_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a build is on the same disk: its last words are lost."""
    rooms = {
        "/full": Room("/full", 4096, None),
        "/few": Room("/few", 10**9, 0),
        "/ample": Room("/ample", 10**9, 10**6),
    }
    monkeypatch.setattr(room, "look", rooms.__getitem__)
    text = room.shortage(RuntimeError("failed with code 2"), ["/full", "/ample", "/few"])
    assert text == "The disk is full: /full has 4096 bytes left, /few has 1000000000 bytes and 0 inodes left"
    assert room.shortage(RuntimeError("failed with code 2"), ["/ample"]) == ""
