from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.envfile import (
    EnvError,
    env_file,
    env_problems,
    reserved_problems,
)

TRICKY = {
    "PLAIN": "shop.settings",
    "EMPTY": "",
    "SPACES": "  a  b ",
    "QUOTES": """it's "so" """,
    "DOLLAR": "$HOME ${HOME} $(id) `id`",
    "BACKSLASHES": '\\ \\\\ \\n \\$ \\" end\\',
    "HASH": "# no comment; none",
    "TAB": "a\tb",
    "BANG": "a!b !! ~ * ? [x] {a,b} | & < >",
    "UNICODE": "grüße 你好",
    "URL": "redis://:p%40ss'w\"ord$@redis1:6379/0",
    "NUMBER": "5",
}


def systemd_reads(text: str) -> dict[str, str]:
    """What EnvironmentFile= makes of NAME="value" lines, after systemd.exec(5) and its parser."""
    found = {}
    for line in text.splitlines():
        name, _, quoted = line.partition("=")
        assert quoted[0] == quoted[-1] == '"'
        value, escaped = "", False
        for character in quoted[1:-1]:
            if escaped:
                value += character if character in '"\\`$' else "\\" + character
                escaped = False
            elif character == "\\":
                escaped = True
            else:
                assert character != '"'
                value += character
        assert not escaped
        found[name] = value
    return found


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_a_shell_reads_back_what_was_written(shell: str, tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text(env_file(TRICKY))
    names = " ".join(f'"${name}"' for name in TRICKY)
    script = f"set -eu; . {file}; printf '%s\\0' {names}"
    try:
        done = subprocess.run(
            [shell, "-c", script], capture_output=True, check=True, env={"PATH": os.defpath}
        )
    except FileNotFoundError:
        pytest.skip(f"no {shell} here")
    assert done.stdout.decode().split("\0")[:-1] == list(TRICKY.values())


def test_systemd_reads_back_what_was_written() -> None:
    assert systemd_reads(env_file(TRICKY)) == TRICKY


def test_names_are_sorted_and_numbers_are_text() -> None:
    assert env_file({"B": 2, "A": 1.5}) == 'A="1.5"\nB="2"\n'


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("A", "line\nbreak", "line break"),
        ("A", "nul\0", "control character"),
        ("A", None, "has no value"),
        ("A", True, "YAML boolean"),
        ("A", ["x"], "list or mapping"),
        ("1A", "x", "no shell can read"),
        ("A-B", "x", "no shell can read"),
    ],
)
def test_what_a_file_cannot_carry_is_refused(name: str, value: object, reason: str) -> None:
    with pytest.raises(EnvError, match=reason):
        env_file({name: value})


def test_problems_never_show_a_value() -> None:
    problems = env_problems({"A": "hunter2\n", "B": ["hunter2"]}, "celery_secrets")
    assert len(problems) == 2
    assert not any("hunter2" in problem for problem in problems)
    assert all(problem.startswith("celery_secrets[") for problem in problems)


def test_what_is_no_mapping_is_refused() -> None:
    assert "no mapping" in env_problems(["A=1"])[0]


def test_names_of_the_collection_are_reserved() -> None:
    environment = {"CELERYOPS_NODE": "x", "CELERY_BROKER_URL": "x", "PYTHONPATH": "x", "MINE": "x"}
    assert len(reserved_problems(environment)) == 3
    assert len(reserved_problems(environment, allowed=("PYTHONPATH",))) == 2
    assert "celery_broker_url" in " ".join(reserved_problems(environment))
