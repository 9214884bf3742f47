from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.lookup.variable_problems import explanation

ROOT = Path(__file__).resolve().parents[4]
BIN = Path(sys.executable).parent


def problems(folder: Path, variables: str, *options: str) -> list[str]:
    """What the lookup says of variables, given as YAML."""
    play: list[dict[str, Any]] = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": "variables.yml",
            "tasks": [
                {
                    "ansible.builtin.copy": {
                        "content": "{{ query('celeryops.fleet.variable_problems', 'celery_') | to_json }}",
                        "dest": str(folder / "said.json"),
                    },
                    "vars": {"ansible_python_interpreter": sys.executable},
                }
            ],
        }
    ]
    (folder / "variables.yml").write_text(variables)
    (folder / "play.yml").write_text(json.dumps(play))
    subprocess.run(
        [BIN / "ansible-playbook", "-i", "localhost,", "-c", "local", *options, folder / "play.yml"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    said: list[str] = json.loads((folder / "said.json").read_text())
    return said


def encrypted(value: str, password: Path) -> str:
    """A value as ansible-vault writes it into a file of variables."""
    done = subprocess.run(
        [BIN / "ansible-vault", "encrypt_string", "--vault-password-file", password, value],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return "!vault |\n" + "".join(f"  {line.strip()}\n" for line in done.stdout.splitlines()[1:])


def test_what_has_a_value_is_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, "celery_a: '{{ b }}'\nb: 1\nother: '{{ nowhere }}'\n") == []


def test_undefined_variables_are_named_once_with_all_that_need_them(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, "celery_a: '{{ nowhere }}'\ncelery_b: {x: ['{{ celery_a }}']}\n")
    assert said.startswith("celery_a, celery_b: nowhere is not defined")
    assert "vault.yml" in said


def test_secret_that_cannot_be_decrypted(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("right")
    wrong.write_text("wrong")
    variables = f"celery_a: {encrypted('hidden', right)}celery_b: 'x{{{{ celery_a }}}}'\n"
    (said,) = problems(tmp_path, variables, "--vault-password-file", str(wrong))
    assert said.startswith("celery_a, celery_b: it is encrypted")
    assert "--vault-password-file" in said
    assert problems(tmp_path, variables, "--vault-password-file", str(right)) == []


@pytest.mark.parametrize(
    "error, words",
    [
        ("Error while resolving value: 'x' is undefined", "x is not defined"),
        ("Decryption failed (no vault secrets were found that could decrypt).", "no given vault password"),
        ("No filter named\n  'y'.", "cannot be evaluated: No filter named 'y'."),
    ],
)
def test_explanation(error: str, words: str) -> None:
    assert words in explanation(error)
