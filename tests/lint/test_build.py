"""The tarball holds what a user needs, works where it is installed, and nothing of the checkout's tools."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

SHIPPED = ("deploy.yml", "examples", "inventories", "playbooks", "plugins", "roles", "runtime/celeryops")
NOT_SHIPPED = (
    ".cache",
    ".ci",
    ".collections",
    ".git",
    ".local",
    ".venv",
    "Makefile",
    "molecule",
    "tests",
    "tools",
)


@pytest.fixture(scope="session")
def home(installed: Path) -> Path:
    return installed / "ansible_collections/celeryops/fleet"


@pytest.mark.parametrize("part", SHIPPED)
def test_holds_every_tracked_file_of(part: str, home: Path, tracked: list[Path]) -> None:
    wanted = [name for name in tracked if name.is_relative_to(part)]
    assert wanted
    assert [str(name) for name in wanted if not (home / name).is_file()] == []


@pytest.mark.parametrize("part", NOT_SHIPPED)
def test_holds_nothing_of(part: str, home: Path) -> None:
    assert not (home / part).exists()


def test_holds_nothing_that_git_ignores(root: Path, home: Path) -> None:
    names = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    asked = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(asked, cwd=root, input="\n".join(names), capture_output=True, text=True)
    assert done.stdout.split() == [], done.stderr


def test_installed_playbooks_pass_the_syntax_check(installed: Path, home: Path) -> None:
    names = ["beat", "deploy", "scale", "status", "teardown"]
    playbooks = [f"celeryops.fleet.{name}" for name in names]
    command = ["ansible-playbook", "--syntax-check", *playbooks, "-i", str(home / "inventories/local")]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(installed)}
    done = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    read = re.findall("^playbook: (.*)$", done.stdout, re.MULTILINE)
    assert read == [str(home / f"playbooks/{name}.yml") for name in names]


def test_the_runtime_bears_the_collections_version(root: Path) -> None:
    collection = yaml.safe_load((root / "galaxy.yml").read_text())["version"]
    assert f'__version__ = "{collection}"' in (root / "runtime/celeryops/__init__.py").read_text()


def test_the_execution_environment_is_made_of_what_is_there(root: Path) -> None:
    text = (root / "execution-environment.yml").read_text()
    described = yaml.safe_load(text)
    assert described["version"] == 3
    assert (root / described["dependencies"]["galaxy"]).is_file()
    # Ansible is the one that the checkout deploys with.
    core = described["dependencies"]["ansible_core"]["package_pip"]
    assert core in (root / "requirements/controller.txt").read_text().splitlines()
    # ansible-builder copies these into the folder that the step installs from.
    (files,) = described["additional_build_files"]
    assert f"/build/{files['dest']}/{files['src']}" in text
