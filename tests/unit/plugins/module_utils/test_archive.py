# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.release.archive import (
    ArchiveError,
    collect,
    digest,
    excluded,
    extract,
    text_entry,
    write_tar,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("shop/app.py", "shop/data.bin", "manage.py", "local/settings.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "manage.py").chmod(0o755)
    (root / "link").symlink_to("shop/app.py")
    return root


def names(root: Path, *exclude: str) -> list[str]:
    return [entry.name for entry in collect(str(root), exclude)]


def packed(root: Path) -> bytes:
    stream = io.BytesIO()
    write_tar(collect(str(root)), stream)
    return stream.getvalue()


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_the_tar_is_the_same_whenever_and_by_whomever_it_is_made(project: Path) -> None:
    first, version = packed(project), digest(collect(str(project)))
    for path in project.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (project / "shop").chmod(0o700)
    (project / "shop/app.py").chmod(0o600)
    assert packed(project) == first
    assert digest(collect(str(project))) == version


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "input"])
def test_whatever_a_release_can_see_changes_its_digest(project: Path, change: str) -> None:
    before = digest(collect(str(project)), "options")
    if change == "content":
        (project / "shop/app.py").write_text("other")
    elif change == "name":
        (project / "shop/app.py").rename(project / "shop/main.py")
    elif change == "mode":
        (project / "shop/app.py").chmod(0o755)
    elif change == "link":
        (project / "link").unlink()
        (project / "link").symlink_to("manage.py")
    assert digest(collect(str(project)), "input" if change == "input" else "options") != before


def test_what_belongs_to_a_machine_always_stays_behind(project: Path) -> None:
    for name in (
        ".git/config",
        "shop/__pycache__/app.pyc",
        ".venv/bin/x",
        "env/pyvenv.cfg",
        "env/lib/x.py",
        "a.pyc",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    assert names(project) == ["link", "local/settings.py", "manage.py", "shop/app.py", "shop/data.bin"]


@pytest.mark.parametrize(
    ("name", "pattern", "out"),
    [
        ("a/b/c.log", "*.log", True),
        ("a/b/c.py", "b", True),
        ("a/b/c.py", "b/", True),
        ("a/b/c.py", "/b", False),
        ("b/c.py", "/b", True),
        ("a/b/c.py", "a/b", True),
        ("x/a/b/c.py", "a/b", False),
        ("docs/x.md", "doc", False),
    ],
)
def test_patterns_mean_what_they_mean_in_a_gitignore(name: str, pattern: str, out: bool) -> None:
    assert excluded(name, [pattern]) is out


def test_an_absolute_path_inside_the_folder_can_be_left_out(project: Path) -> None:
    assert "local/settings.py" not in names(project, str(project / "local"))
    assert "local/settings.py" in names(project, "/elsewhere/local")


def test_in_a_git_checkout_what_git_ignores_stays_behind(project: Path) -> None:
    (project / ".gitignore").write_text("local/\n*.bin\n")
    git(project, "init", "-q")
    git(project, "add", "manage.py")
    assert names(project) == [".gitignore", "link", "manage.py", "shop/app.py"]
    git(project, "commit", "-qm", "x")
    (project / "manage.py").unlink()
    assert names(project) == [".gitignore", "link", "shop/app.py"]
    assert [entry.name for entry in collect(str(project / "shop"))] == ["app.py"]


def test_a_folder_that_its_checkout_ignores_is_shipped_whole(project: Path) -> None:
    git(project, "init", "-q")
    (project / ".gitignore").write_text("local/\n")
    assert [entry.name for entry in collect(str(project / "local"))] == ["settings.py"]


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"does not exist on the controller: correct source\.path"):
        collect(str(tmp_path / "no"))
    with pytest.raises(ArchiveError, match="no file to deploy"):
        collect(str(tmp_path))


def test_what_was_packed_comes_out_again(project: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(packed(project))
    extract(str(tmp_path / "x.tar.gz"), str(tmp_path / "out"))
    assert digest(collect(str(tmp_path / "out"))) == digest(collect(str(project)))
    assert os.access(tmp_path / "out/manage.py", os.X_OK)
    assert os.readlink(tmp_path / "out/link") == "shop/app.py"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_an_archive_cannot_reach_outside(tmp_path: Path, name: str) -> None:
    with open(tmp_path / "x.tar.gz", "wb") as stream:
        write_tar([text_entry(name, b"x")], stream)
    with pytest.raises(ArchiveError, match="outside of the release"):
        extract(str(tmp_path / "x.tar.gz"), str(tmp_path / "out"))


def test_a_link_in_an_archive_leads_no_later_file_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("file")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "victim")
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO(b""))
    with pytest.raises(FileExistsError):
        extract(str(tmp_path / "x.tar.gz"), str(tmp_path / "out"))
    assert not (tmp_path / "victim").exists()
