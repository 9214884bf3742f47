"""A schedule that beat cannot read is moved aside before beat starts; a sound one is left alone."""

from __future__ import annotations

import shelve
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.modules import load

SCRIPT = Path(__file__).resolve().parents[3] / "roles/celery_beat/files/check_schedule.py"


check_schedule = load(SCRIPT)


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    path = tmp_path / "schedule"
    with shelve.open(str(path)) as store:
        store["entries"] = {"often": 1}
        store["tz"] = "UTC"
    return path


def spoil(schedule: Path) -> None:
    """Leave a file that opens, as a full disk does, with a value that cannot be read."""
    import dbm

    with dbm.open(str(schedule), "w") as store:
        store["entries"] = b"\x80\x04"


def run(schedule: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(schedule), *command],
        text=True,
        capture_output=True,
        timeout=30,
        check=True,
        cwd=schedule.parent,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_sound_schedule_is_left_alone(schedule: Path) -> None:
    before = names(schedule.parent)
    assert run(schedule).stderr == ""
    assert names(schedule.parent) == before


def test_no_schedule_is_no_damage(tmp_path: Path) -> None:
    assert run(tmp_path / "schedule").stderr == ""
    assert names(tmp_path) == set()


def test_an_unreadable_schedule_is_moved_aside_and_kept(schedule: Path) -> None:
    before = names(schedule.parent)
    spoil(schedule)
    said = run(schedule).stderr
    assert f"{schedule} cannot be read and was moved to {schedule}.unreadable" in said
    assert names(schedule.parent) == {name.replace("schedule", "schedule.unreadable") for name in before}
    assert run(schedule).stderr == ""


def test_text_in_its_place_is_moved_aside_too(tmp_path: Path) -> None:
    (tmp_path / "schedule").write_text("hello")
    run(tmp_path / "schedule")
    assert names(tmp_path) == {"schedule.unreadable"}


def test_only_the_last_unreadable_one_is_kept(schedule: Path) -> None:
    for _ in range(2):
        with shelve.open(str(schedule)) as store:
            store["entries"] = {}
        spoil(schedule)
        run(schedule)
    assert all(name.startswith("schedule.unreadable") for name in names(schedule.parent))


def test_a_schedule_that_is_in_use_is_no_damage(schedule: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_arguments: object, **_options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(check_schedule.shelve, "open", busy)
    assert check_schedule.damage(str(schedule)) == ""


def test_classes_of_the_application_are_found_in_the_working_folder(schedule: Path) -> None:
    (schedule.parent / "tides.py").write_text("class Tide:\n    pass\n")
    code = "import shelve, tides\nwith shelve.open('schedule') as store: store['entries'] = tides.Tide()"
    subprocess.run([sys.executable, "-c", code], cwd=schedule.parent, check=True, timeout=30)
    assert run(schedule).stderr == ""
    (schedule.parent / "tides.py").unlink()
    assert "No module named 'tides'" in run(schedule).stderr


def test_a_command_takes_its_place(schedule: Path) -> None:
    assert run(schedule, "/bin/echo", "beat", "-l", "INFO").stdout == "beat -l INFO\n"
