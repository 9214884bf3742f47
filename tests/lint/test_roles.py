"""Every role has a README, and its defaults and its argument specification say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).resolve().parents[2] / "roles").iterdir() if path.is_dir())
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def options(role: Path) -> dict[str, dict[str, Any]]:
    """The options of all entry points together."""
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


@each_role
def test_has_a_readme(role: Path) -> None:
    readme = role / "README.md"
    assert readme.is_file()
    assert role.name in readme.read_text()


@each_role
def test_every_default_is_specified(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    assert sorted(defaults.keys() - options(role).keys()) == []


@each_role
def test_every_specified_default_is_set(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    with_default = {name for name, option in options(role).items() if "default" in option}
    assert sorted(with_default - defaults.keys()) == []


@each_role
def test_defaults_are_the_specified_ones(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    for name, option in options(role).items():
        computed = isinstance(defaults.get(name), str) and "{{" in defaults[name]
        if "default" in option and not computed:
            assert defaults[name] == option["default"], name


@each_role
def test_every_option_is_described(role: Path) -> None:
    assert [name for name, option in options(role).items() if not option.get("description")] == []


@each_role
def test_variables_bear_the_name_of_the_role(role: Path) -> None:
    internal = [name for path in (role / "vars").rglob("*.yml") for name in load(path) or {}]
    assert [name for name in internal if not name.startswith(f"_{role.name}_")] == []
    # Variables of the fleet as a whole are the role celery's: celery_x, and celery_worker_pools among them.
    assert [name for name in options(role) if not name.startswith(f"{role.name}_")] == []
