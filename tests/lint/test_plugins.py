"""Every plugin is documented, as ansible-doc shows it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# An action plugin's documentation is that of the module of the same name.
DOCUMENTED = ("module", "filter", "inventory", "lookup", "test", "callback")


def names(kind: str) -> list[str]:
    folder = ROOT / "plugins" / ("modules" if kind == "module" else kind)
    return sorted(
        {f"celeryops.fleet.{path.stem}" for path in folder.glob("[!_]*.*") if path.suffix in (".py", ".yml")}
    )


@pytest.fixture(scope="session")
def documents() -> dict[str, dict[str, Any]]:
    """What ansible-doc knows of the collection, by kind: all of it in one run."""
    command = ["ansible-doc", "--metadata-dump", "celeryops.fleet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["all"]


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_every_plugin_is_documented(kind: str, documents: dict[str, dict[str, Any]]) -> None:
    found = documents[kind]
    if kind == "module":
        assert sorted(found) == names(kind)
    for name, document in found.items():
        doc = document["doc"]
        assert doc["short_description"], name
        assert doc["description"], name
        assert doc.get("author"), name
        assert doc.get("version_added"), name
        assert document["examples"], name


def test_modules_say_what_they_promise_and_return(documents: dict[str, dict[str, Any]]) -> None:
    for name, document in documents["module"].items():
        assert {"check_mode", "diff_mode", "idempotent"} <= document["doc"].get("attributes", {}).keys(), name
        assert document["return"], name


def test_every_action_has_its_module() -> None:
    actions = {path.stem for path in (ROOT / "plugins/action").glob("*.py")} - {"__init__"}
    assert actions <= {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
