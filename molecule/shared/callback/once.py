# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Does once what Ansible would do anew in every run, or for every task and host. No result depends on it."""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.module_utils._internal._datatag import _AnsibleTaggedFloat, _AnsibleTaggedInt, _AnsibleTaggedStr
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from jinja2 import __version__ as jinja_version

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "molecule/shared"))  # where Ansible loads plugins from knows no packages

from kept.archives import pack_bytecode  # noqa: E402
from kept.templates import keep_templates  # noqa: E402

DOCUMENTATION = """
name: once
type: aggregate
short_description: Does once what Ansible does again and again
description:
  - What it keeps stands below C(.cache/molecule/once), in a folder whose name is a digest of everything that
    it is made from. A change in the collection that the run uses, of this, of Ansible, Jinja or Python is a
    new folder.
  - For each run Ansible packs every module with what it imports into an archive. Keeps the archives, and adds
    bytecode to them. A host whose Python is as new as the controller's need not compile the sources, any
    other host does as ever.
  - Ansible compiles a template each time it fills it in. Keeps what came of it, for all processes and runs.
  - Ansible copies the parsed files of a role each time that the role is used. Tagged strings and numbers are
    as unchangeable as plain ones. Lets a copy be the same object.
  - The processes that work for a task compile the plugins of a collection when they need them, each for
    itself. Imports them before, where all processes come from.
  - A Python on this machine that is told not to buffer its output reads each module byte by byte. Does not
    pass that on.
  - The collector of garbage writes to every object that it looks at, and memory that a forked process writes
    to is copied. Takes all objects from its sight that are there before the fork.
  - Ansible looks 1000 times a second whether one of these processes has answered. Lets it look 100 times.
"""

COLLECTION = "ansible_collections.celeryops.fleet"
OF_COLLECTION = ("meta/runtime.yml", "plugins")
OF_THIS = ("molecule/shared/callback/once.py", "molecule/shared/kept")
IMPORTED = ("action", "filter", "lookup")


def files(folder: Path, names: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """Each with its place in the folder."""
    for name in names:
        path = folder / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield file.relative_to(folder), file


def digest(collection: Path) -> str:
    """Of content, wherever it lies: a clone, or what is installed from the tarball, shares what is kept."""
    content = hashlib.sha256(f"{__version__}\0{jinja_version}\0{sys.version}".encode())
    for place, path in [*files(collection, OF_COLLECTION), *files(ROOT, OF_THIS)]:
        content.update(f"\0{place}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


TAGGED_SCALARS: tuple[Any, ...] = (_AnsibleTaggedFloat, _AnsibleTaggedInt, _AnsibleTaggedStr)


def share_scalars() -> None:
    for kind in TAGGED_SCALARS:
        kind.__deepcopy__ = lambda self, memo: self


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "once"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        # Where the run finds it: the checkout, what was installed from a tarball, perhaps another release.
        (folder,) = import_module(COLLECTION).__path__
        collection = Path(folder)
        kept = ROOT / ".cache" / "molecule" / "once" / digest(collection)
        archives = kept / "modules"
        archives.mkdir(parents=True, exist_ok=True)
        # Where Ansible looks first. It removes the link with the folder when it ends.
        os.symlink(archives, Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
        pack_bytecode()
        share_scalars()
        self.templates = keep_templates(kept / "templates")
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.01
        # With it a Python reads the module that it is given, its standard input, byte by byte.
        os.environ.pop("PYTHONUNBUFFERED", None)
        for kind in IMPORTED:
            for path in sorted((collection / "plugins" / kind).glob("*.py")):
                import_module(f"{COLLECTION}.plugins.{kind}.{path.stem}")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.templates.refresh()
        gc.freeze()
