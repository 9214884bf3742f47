"""The inventory reference is rendered from specifications, without a look at the tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import load

TOOL = Path(__file__).resolve().parents[3] / "tools/inventory_reference.py"
tool = load(TOOL)


@pytest.mark.parametrize(
    "default, shown",
    [
        (None, "empty"),
        ("", "empty"),
        (0, "`0`"),
        (False, "`false`"),
        ("30m", "`30m`"),
        ([], "`[]`"),
        (["a", "b"], "`[a, b]`"),
        ({"min": 1}, "`{min: 1}`"),
        ("{{ a | default('') }}", "`{{ a \\| default('') }}`"),
    ],
)
def test_a_default_is_shown_as_yaml_that_fits_a_cell(default: Any, shown: str) -> None:
    assert tool.value(default) == shown


def test_markup_becomes_markdown() -> None:
    assert tool.plain("Like V(a|b) of C(celery  -A),\nsee O(x).") == "Like `a\\|b` of `celery -A`, see `x`."


def test_a_row_says_what_must_be_set_what_is_secret_and_which_keys_there_are() -> None:
    rows = tool.table(
        {
            "x_url": {"required": True, "no_log": True, "description": ["Where.", "And how."]},
            "x_steps": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "description": "Steps.",
                "options": {"name": {"type": "str", "required": True, "description": "Its name."}},
            },
            "x_mode": {"choices": ["one", "two"], "default": "one", "description": "Mode."},
        }
    ).splitlines()[2:]
    assert rows == [
        "| `x_url` | str | *must be set* | Where. And how. *Secret.* |",
        "| `x_steps` | list of dict | `[]` | Steps. <br>`name` (str, must be set): Its name. |",
        "| `x_mode` | str | `one` | Mode. One of `one`, `two`. |",
    ]


def test_the_operators_roles_come_first_and_the_playbooks_last() -> None:
    spec = {"short_description": "Do it", "options": {}}
    page = tool.render({"zeal": spec, "redis": spec, "celery": spec})
    places = [page.index(text) for text in ("## celery", "## redis", "## Set by the playbooks", "### zeal")]
    assert places == sorted(places)


def test_reads_the_entry_point_main_of_every_role_that_has_one(tmp_path: Path) -> None:
    for role, entry in (("redis", "main"), ("shared", "preflight")):
        (tmp_path / role / "meta").mkdir(parents=True)
        text = f"argument_specs: {{{entry}: {{short_description: Keep it}}}}"
        (tmp_path / role / "meta/argument_specs.yml").write_text(text)
    assert tool.read(tmp_path) == {"redis": {"short_description": "Keep it"}}
