# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What molecule/shared/callback/once.py hooks into Ansible lets that do its work."""

from __future__ import annotations

import base64
import copy
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from ansible._internal._datatag._tags import Origin
from ansible.executor.module_common import _CachedModule
from ansible.parsing.dataloader import DataLoader
from kept.store import Store

from tests.support.modules import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def once() -> ModuleType:
    return load(ROOT / "molecule/shared/callback/once.py")


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


def test_what_is_kept_is_of_one_content(once: ModuleType, tmp_path: Path) -> None:
    """The same elsewhere, as the tarball brings it, shares it; another release, or a change, does not."""
    copied = tmp_path / "fleet"
    for name in ("meta", "plugins"):
        shutil.copytree(ROOT / name, copied / name)
    assert once.digest(copied) == once.digest(ROOT)
    changed = copied / "plugins/module_utils/fingerprint.py"
    changed.write_text(changed.read_text() + "\n")
    digests = {once.digest(ROOT), once.digest(copied)}
    changed.rename(changed.with_name("print.py"))
    digests.add(once.digest(copied))
    assert len(digests) == 3


def read(path: Path) -> dict[bytes, bytes]:
    store = Store(path)
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
    kept = ROOT / ".cache" / "molecule" / "once" / once.digest(ROOT)
    before = len(read(kept / "templates")) if kept.exists() else 0
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
    assert len(read(kept / "templates")) > before
    archive = _CachedModule.load(str(kept / "modules" / "ansible.modules.ping-ZIP_DEFLATED-none"))
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(archive.zip_data))).namelist()
    assert {"ansible/modules/ping.pyc", "ansible/module_utils/basic.pyc"} <= set(names)
