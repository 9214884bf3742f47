"""The workflows run what exists, with no more rights than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@each_workflow
def test_rights_are_named_and_few(workflow: Path) -> None:
    content = load(workflow)
    assert content["permissions"] in ({}, {"contents": "read"})
    writing = [
        name
        for name, job in content["jobs"].items()
        if any(right != "read" for right in job.get("permissions", {}).values())
    ]
    assert writing in ([], ["publish"])
    for name in writing:
        # What can write runs nothing of the repository.
        assert not [step for step in content["jobs"][name]["steps"] if "checkout" in step.get("uses", "")]


@each_workflow
def test_runs_of_one_branch_wait_for_each_other_and_end(workflow: Path) -> None:
    content = load(workflow)
    assert "github.ref" in content["concurrency"]["group"]
    assert [name for name, job in content["jobs"].items() if "timeout-minutes" not in job] == []


@each_workflow
def test_actions_are_pinned_and_leave_no_token(workflow: Path) -> None:
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@each_workflow
def test_no_text_of_an_event_becomes_a_command(workflow: Path) -> None:
    """What a stranger can name, such as a branch, must not be pasted into a shell."""
    assert [step["run"] for step in steps(workflow) if "${{ github" in step.get("run", "")] == []


@each_workflow
def test_programs_and_targets_exist(workflow: Path) -> None:
    commands = "\n".join(step.get("run", "") for step in steps(workflow))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", commands)) - {"python"} <= set(targets)
    files = re.findall(r"(?<![\w./])((?:tests|tools|requirements)/[\w./-]+)", commands)
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_every_suite_is_run() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    suites = re.search(r"^suites=\((.*)\)$", (ROOT / "tests/run").read_text(), re.MULTILINE)
    assert suites
    assert [suite for suite in suites[1].split() if suite not in text] == []


def test_every_scenarios_system_is_one_that_containers_are_made_of() -> None:
    matrix = load(ROOT / ".github/workflows/ci.yml")["jobs"]["molecule"]["strategy"]["matrix"]["include"]
    known = (ROOT / "molecule/shared/containers.py").read_text()
    assert [entry["suite"] for entry in matrix if f'"{entry["suite"]}":' not in known] == []
