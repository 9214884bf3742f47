#!/usr/bin/env python3
"""Write docs/inventory.md from the roles' argument specifications.

    .venv/bin/python tools/inventory_reference.py

A check of the lint suite fails while the page says something else than the specifications.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "inventory.md"

#: In the order in which one describes a fleet. Roles that are not named here follow under LATER.
ROLES = ("celery", "celery_app", "celery_worker", "celery_beat", "celery_flower", "redis")

HEAD = """\
# Inventory reference

Made by `tools/inventory_reference.py` from the roles' argument specifications; edit those, not this page.
How to write an inventory is told in [Quick start](quick-start.md#your-own-application).

| Group | Its hosts |
| --- | --- |
| `redis` | run Redis. Leave it empty when Redis is somebody else's, and give `celery_broker_url`. |
| `celery_workers` | run the worker pools. |
| `celery_beat` | run beat. One of them has the lease and sends, the others stand by. |
| `celery_flower` | run Flower. |

Sizes and durations are text with a unit: `400MB`, `1.5GiB`, `30m`, `1h30m`. A variable marked *secret* is
kept out of output and logs; put it into a vault. One marked *must be set* has no default.
"""
LATER = """\
## Set by the playbooks

The playbooks of this collection hand these in. They matter to playbooks of your own.
"""

_MARKUP = re.compile(r"\b[BCEIOVP]\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def plain(text: str) -> str:
    """Ansible's markup as Markdown, fit for a cell of a table."""
    return _MARKUP.sub(r"`\1`", " ".join(text.split())).replace("|", "\\|")


def sentences(description: str | list[str]) -> str:
    return plain(description if isinstance(description, str) else " ".join(description))


def kind(option: Mapping[str, Any]) -> str:
    """The type, with that of the elements of a list."""
    name = str(option.get("type", "str"))
    return f"{name} of {option['elements']}" if "elements" in option else name


def value(default: Any) -> str:
    """A default as one writes it in YAML."""
    if default is None or default == "":
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (dict, list)):
        default = yaml.safe_dump(default, default_flow_style=True, width=1000)
    return f"`{plain(str(default))}`"


def meaning(option: Mapping[str, Any]) -> str:
    """The description, the choices and the keys of a dictionary."""
    parts = [sentences(option.get("description", ""))]
    if option.get("choices"):
        parts.append("One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + ".")
    if option.get("no_log"):
        parts.append("*Secret.*")
    for name, key in (option.get("options") or {}).items():
        needed = ", must be set" if key.get("required") else ""
        parts.append(f"<br>`{name}` ({kind(key)}{needed}): {meaning(key)}")
    return " ".join(part for part in parts if part)


def table(options: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| Variable | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        default = "*must be set*" if option.get("required") else value(option.get("default"))
        rows.append(f"| `{name}` | {kind(option)} | {default} | {meaning(option)} |")
    return "\n".join(rows) + "\n"


def section(role: str, spec: Mapping[str, Any], level: str) -> str:
    """One role: what it is for, where more is said, its variables."""
    readme = f"[its README](../roles/{role}/README.md)"
    head = f"{level} {role}\n\n{plain(spec['short_description'])}. More in {readme}.\n"
    return f"{head}\n{table(spec['options'])}" if spec.get("options") else head


def render(specs: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, from the specification of each role's entry point `main`."""
    others = sorted(specs.keys() - set(ROLES))
    parts = [HEAD, *(section(role, specs[role], "##") for role in ROLES if role in specs)]
    if others:
        parts += [LATER, *(section(role, specs[role], "###") for role in others)]
    return "\n".join(parts)


def read(roles: Path) -> dict[str, Any]:
    """The specification of `main` of every role that has one."""
    found = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        main = yaml.safe_load(path.read_text())["argument_specs"].get("main")
        if main:
            found[path.parents[1].name] = main
    return found


if __name__ == "__main__":
    PAGE.write_text(render(read(ROOT / "roles")))
