# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What molecule/shared/callback/once.py keeps is used, and is what Ansible would make anew."""

from __future__ import annotations

import base64
import copy
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from ansible._internal._datatag._tags import Origin
from ansible._internal._templating._jinja_bits import AnsibleEnvironment
from ansible.executor.module_common import _CachedModule
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.modules import load

ROOT = Path(__file__).resolve().parents[3]

PACKED = {
    "packed/__init__.py": "",
    "packed/inner/__init__.py": "'''The inner one.'''\nhere = __file__\n",
    "packed/inner/fails.py": (
        "from __future__ import annotations\nfrom . import here\n\n\ndef fail() -> Unknown:\n"
        "    names = sorted(name for name in globals() if not name.startswith('__'))\n"
        "    raise RuntimeError(here, __file__, __name__, names, fail.__annotations__)\n"
    ),
    "packed/run.py": (
        "import inspect, traceback\nfrom packed import inner\nfrom packed.inner import fails\n"
        "print(__name__, __file__, inner.__doc__, inspect.getsource(fails))\n"
        "try:\n    fails.fail()\nexcept RuntimeError:\n    print(traceback.format_exc())\n"
    ),
}


@pytest.fixture(scope="module")
def once() -> ModuleType:
    return load(ROOT / "molecule/shared/callback/once.py")


def pack(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def run(path: Path, archive: bytes) -> str:
    path.write_bytes(archive)
    start = f"import sys; sys.path.insert(0, {str(path)!r}); import runpy; runpy.run_module('packed.run')"
    return subprocess.run([sys.executable, "-c", start], check=True, capture_output=True, text=True).stdout


def changed(archive: bytes, suffix: str, change: bytes) -> bytes:
    """The archive with other bytes at the start of each file of a kind."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as given, zipfile.ZipFile(packed, "w") as made:
        for entry in given.infolist():
            content = given.read(entry)
            made.writestr(
                entry, change + content[len(change) :] if entry.filename.endswith(suffix) else content
            )
    return packed.getvalue()


def test_bytecode_does_what_its_source_does(once: ModuleType, tmp_path: Path) -> None:
    plain = pack(PACKED)
    expected = run(tmp_path / "packed.zip", plain)
    assert "packed.zip/packed/inner/fails.py" in expected and "raise RuntimeError" in expected

    archive = once.with_bytecode(plain)
    assert run(tmp_path / "packed.zip", archive) == expected


def test_bytecode_is_what_runs(once: ModuleType, tmp_path: Path) -> None:
    source = {**PACKED, "packed/run.py": "print('the source')\n"}
    archive = once.with_bytecode(pack(source))
    assert run(tmp_path / "packed.zip", changed(archive, ".py", b"1 +")) == "the source\n"


def test_another_python_runs_the_source(once: ModuleType, tmp_path: Path) -> None:
    archive = once.with_bytecode(pack(PACKED))
    assert run(tmp_path / "packed.zip", changed(archive, ".pyc", b"\0\0\r\n")) == run(
        tmp_path / "packed.zip", pack(PACKED)
    )


def test_source_that_does_not_compile_stays(once: ModuleType) -> None:
    archive = once.with_bytecode(pack({"a.py": "print 'of another Python'", "b.py": "b = 1"}))
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == ["a.py", "b.py", "b.pyc"]


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


def test_kept_template_is_filled_in_as_a_new_one(
    once: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rendered()
    for name in ("compile", "compile_expression"):
        monkeypatch.setattr(AnsibleEnvironment, name, getattr(AnsibleEnvironment, name))
    with monkeypatch.context() as first:
        for name in ("compile", "compile_expression"):
            first.setattr(AnsibleEnvironment, name, getattr(AnsibleEnvironment, name))
        once.keep_templates(tmp_path / "templates")
        assert rendered() == expected
        assert rendered() == expected

    store = once.keep_templates(tmp_path / "templates")
    kept = (tmp_path / "templates").stat().st_size
    assert rendered() == expected
    assert store.entries and (tmp_path / "templates").stat().st_size == kept, (
        "something has been compiled anew"
    )


def test_a_filter_that_wants_something_else_is_compiled_anew(
    once: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = once.Templates(once.Store(tmp_path / "templates"))
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
    wanting.jinja_pass_arg = once._PassArg.context  # type: ignore[attr-defined]
    templates.code(environment, ("key",), build)
    assert len(built) == 2


def test_a_copy_has_its_own_containers_and_the_tags(
    once: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in once.TAGGED_SCALARS:
        monkeypatch.setattr(kind, "__deepcopy__", None, raising=False)  # so that it is taken away again
    once.share_scalars()
    parsed = DataLoader().load("names: [one, 2]\n", file_name="/names.yml")
    copied = copy.deepcopy(parsed)
    copied["names"].append("three")
    assert parsed == {"names": ["one", 2]}
    assert copied == {"names": ["one", 2, "three"]}
    assert copied["names"][0] is parsed["names"][0]
    for kept, new in (
        (parsed, copied),
        (parsed["names"], copied["names"]),
        *zip(parsed["names"], copied["names"], strict=False),
    ):
        assert Origin.get_tag(new) == Origin.get_tag(kept) is not None


def test_store_is_read_and_added_to_by_several(once: ModuleType, tmp_path: Path) -> None:
    one, other = once.Store(tmp_path / "store"), once.Store(tmp_path / "store")
    one.add(b"a", b"first")
    assert other.get(b"a") == b"first"
    other.add(b"a", b"second")
    one.refresh()
    assert one.entries == other.entries == {b"a": b"second"}
    assert once.Store(tmp_path / "store").get(b"b") is None


def test_a_store_that_cannot_be_read_keeps_nothing(once: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"no database" * 99)
    store = once.Store(tmp_path / "store")
    store.add(b"a", b"first")
    assert store.get(b"a") == b"first"
    assert once.Store(tmp_path / "store").get(b"a") is None


def read(kind: Any, path: Path) -> dict[bytes, bytes]:
    store = kind(path)
    store.refresh()
    return dict(store.entries)


def test_a_run_keeps_both(once: ModuleType, tmp_path: Path) -> None:
    """Ansible still does its work through what the callback hooks."""
    play = tmp_path / "play.yml"
    play.write_text(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n"
        # A template that no run before this one has met.
        f"    - ansible.builtin.ping:\n        data: \"{{{{ '{uuid4()}' | upper }}}}\"\n"
    )
    kept = ROOT / ".cache" / "molecule" / "once" / once.digest()
    before = len(read(once.Store, kept / "templates")) if kept.exists() else 0
    environment = {
        **os.environ,
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "molecule/shared/callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "once",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(play)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "ok=1" in done.stdout and "callback" not in done.stderr
    assert len(read(once.Store, kept / "templates")) > before
    archive = _CachedModule.load(str(kept / "modules" / "ansible.modules.ping-ZIP_DEFLATED-none"))
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(archive.zip_data))).namelist()
    assert {"ansible/modules/ping.pyc", "ansible/module_utils/basic.pyc"} <= set(names)
