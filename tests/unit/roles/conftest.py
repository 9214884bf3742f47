"""Renders a role's templates with the collection's own filters, without a play."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from ansible_collections.celeryops.fleet.plugins.filter import pools, text
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.specs import node_specs

ROLES = Path(__file__).resolve().parents[3] / "roles"


class Fleet:
    """A fleet below a folder: the variables that the roles' templates know, and its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.release = SimpleNamespace(version="1.4.0", bin_dir=f"{root}/bin", chdir=f"{root}/src")
        folders = {f"celery_{name}_dir": f"{root}/{name}" for name in ("opt", "etc", "state", "log", "run")}
        self.variables: dict[str, Any] = {
            "ansible_managed": "Ansible managed",
            "celery_app_name": "shop",
            "celery_app": "shop.celery:app",
            "celery_app_release": self.release,
            "celery_prefix": str(root),
            "celery_user": "root",
            "celery_group": "root",
            "celery_writable_paths": [],
            **folders,
        }
        for name in ("bin", "src", "opt/bin", "etc/nodes", "state", "log", "run"):
            (root / name).mkdir(parents=True)

    def set_pools(
        self, found: list[dict[str, Any]], manager: str = "systemd", host: str = "w1"
    ) -> list[dict[str, Any]]:
        nodes = node_specs(found, host, self.variables["celery_state_dir"], manager=manager)
        self.variables["celery_worker_nodes"] = nodes
        return nodes

    def render(self, role: str, template: str, **more: Any) -> str:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(ROLES / role / "templates"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        for module in (pools, text):
            for name, function in module.FilterModule().filters().items():
                environment.filters[f"celeryops.fleet.{name}"] = function
        return environment.get_template(template).render(**{**self.variables, **more})

    def write(self, path: str, content: str, mode: int = 0o644) -> Path:
        file = self.root / path
        file.write_text(content)
        file.chmod(mode)
        return file


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


@pytest.fixture
def make_fleet() -> type[Fleet]:
    return Fleet


@pytest.fixture
def write_program(fleet: Fleet) -> Callable[[str, str], Path]:
    """Writes a shell script into the fleet."""
    return lambda path, body: fleet.write(path, f"#!/bin/sh\n{body}\n", 0o755)
