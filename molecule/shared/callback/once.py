# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Does once what Ansible would do anew in every run, or for every task and host. No result depends on it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

DOCUMENTATION = """
name: once
type: aggregate
short_description: Does once what Ansible does again and again
description:
  - For each run Ansible packs every module with what it imports into an archive. Leads the folder of these
    archives to C(.cache/molecule/modules). Its name is a digest of everything that they are made from, so a
    change in the checkout or of Ansible is a new folder.
  - The processes that work for a task compile the plugins of a collection when they need them, each for
    itself. Imports them before, where all processes come from.
"""

ROOT = Path(__file__).resolve().parents[3]
PACKED_FROM = ("meta/runtime.yml", "plugins/module_utils", "plugins/modules")
IMPORTED = ("action", "filter", "lookup")


def files() -> Iterator[Path]:
    for name in PACKED_FROM:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def digest() -> str:
    content = hashlib.sha256(f"{__version__}\0{sys.version}\0{sys.prefix}".encode())
    for path in files():
        content.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "once"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        kept = ROOT / ".cache" / "molecule" / "modules" / digest()
        kept.mkdir(parents=True, exist_ok=True)
        # Where Ansible looks first. It removes the link with the folder when it ends.
        os.symlink(kept, Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
        for kind in IMPORTED:
            for path in sorted((ROOT / "plugins" / kind).glob("*.py")):
                import_module(f"ansible_collections.celeryops.fleet.plugins.{kind}.{path.stem}")
