"""The wrapper commands that the role celery writes."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(fleet: Any, write_program: Callable[[str, str], Path]) -> Callable[..., Any]:
    fleet.write("etc/environment", 'GREETING="it\'s \\"a\\" \\$HOME"\nPYTHONPATH="/runtime"\n')
    write_program("opt/bin/run", fleet.render("celery", "run.j2").partition("\n")[2])
    write_program("opt/bin/celery", fleet.render("celery", "celery.j2").partition("\n")[2])

    def call(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = str(fleet.root / "opt/bin" / command)
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True, check=False, cwd="/", env=os.environ
        )

    return call


def test_run_gives_the_fleets_environment_folder_and_umask(fleet: Any, run: Callable[..., Any]) -> None:
    done = run("run", "sh", "-c", 'echo "$GREETING|$PYTHONPATH|$(pwd)|$(umask)|${PATH%%:*}"')
    assert done.stdout.strip() == f'it\'s "a" $HOME|/runtime|{fleet.root}/src|0027|{fleet.root}/bin'


def test_run_keeps_arguments_and_exit_codes(run: Callable[..., Any]) -> None:
    done = run("run", "sh", "-c", 'printf "<%s>" "$@"; exit 5', "sh", "a b", "", "$x")
    assert (done.stdout, done.returncode) == ("<a b><><$x>", 5)


def test_celery_is_that_of_the_release_with_the_application(
    fleet: Any, run: Callable[..., Any], write_program: Callable[[str, str], Path]
) -> None:
    write_program("bin/celery", 'printf "<%s>" "$@"')
    assert run("celery", "inspect", "ping", "a b").stdout == "<-A><shop.celery:app><inspect><ping><a b>"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_run_as_root_becomes_the_fleets_user(make_fleet: Callable[[Path], Any]) -> None:
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        fleet = make_fleet(Path(folder) / "fleet")
        fleet.variables.update(celery_user="nobody", celery_group="nogroup", celery_prefix="")
        fleet.write("etc/environment", "")
        command = fleet.write("opt/bin/run", fleet.render("celery", "run.j2"), 0o755)
        script = 'id -un; id -gn; echo "$HOME"'
        done = subprocess.run([str(command), "sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["nobody", "nogroup", pwd.getpwnam("nobody").pw_dir]


def test_without_rights_it_says_as_whom_to_run(fleet: Any, run: Callable[..., Any]) -> None:
    (fleet.root / "etc/environment").unlink()
    done = run("run", "true")
    assert done.returncode == 77
    assert "run this as root or as root" in done.stderr
