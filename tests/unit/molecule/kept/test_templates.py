# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A kept template is filled in as one that Ansible has just compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible._internal._templating._jinja_bits import AnsibleEnvironment
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from jinja2.utils import _PassArg
from kept.store import Store
from kept.templates import Templates, keep_templates

TEMPLATES = {
    "text": "{{ 'a\\\\b' }} {% for item in items_of_play %}{{ item | upper }},{% endfor %}\n",
    "native": "{{ items_of_play | map('length') | list }}",
    "test": "{{ (items_of_play | first) is match('o') }}",
    "undefined": "{{ nothing | default('else') }}",
    "macro": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('y') }}",
}
CONDITIONS = ["items_of_play | length == 2", "nothing is defined", "items_of_play is contains 'one'"]


def rendered() -> list[object]:
    templar = Templar(DataLoader(), variables={"items_of_play": ["one", "three"]})
    found: list[object] = [templar.template(trust_as_template(text)) for text in TEMPLATES.values()]
    found += [templar.evaluate_conditional(trust_as_template(text)) for text in CONDITIONS]
    for wrong in ("{{ 1 | no_such_filter }}", "{{ 1 +", "{{ 1 | int(bad=2) }}", "{{ nothing }}"):
        with pytest.raises(Exception, match=r".") as caught:
            templar.template(trust_as_template(wrong))
        found.append((type(caught.value), str(caught.value)))
    return found


def test_kept_template_is_filled_in_as_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rendered()
    for name in ("compile", "compile_expression"):
        monkeypatch.setattr(AnsibleEnvironment, name, getattr(AnsibleEnvironment, name))
    with monkeypatch.context() as first:
        for name in ("compile", "compile_expression"):
            first.setattr(AnsibleEnvironment, name, getattr(AnsibleEnvironment, name))
        keep_templates(tmp_path / "templates")
        assert rendered() == expected
        assert rendered() == expected

    store = keep_templates(tmp_path / "templates")
    kept = (tmp_path / "templates").stat().st_size
    assert rendered() == expected
    assert store.entries and (tmp_path / "templates").stat().st_size == kept, (
        "something has been compiled anew"
    )


def test_a_filter_that_wants_something_else_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = Templates(Store(tmp_path / "templates"))
    built: list[int] = []

    def build() -> tuple[object, object]:
        built.append(1)
        return compile("1", "x", "eval"), AnsibleEnvironment().parse("{{ 1 | wanting }}")

    def wanting(*given: object) -> object:
        return given

    environment = AnsibleEnvironment()
    environment.filters = {"wanting": wanting}
    for _each in range(2):
        templates.code(environment, ("key",), build)
    assert len(built) == 1
    wanting.jinja_pass_arg = _PassArg.context  # type: ignore[attr-defined]
    templates.code(environment, ("key",), build)
    assert len(built) == 2
