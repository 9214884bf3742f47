# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The runtime beside the application, as the controller sends it and a host has it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import (
    MIN_PYTHON,
    SHORT,
    ReleaseError,
)


def runtime_files(root: str) -> dict[str, bytes]:
    """Return the runtime as it stands on a host: the package, and what makes it a plugin of Celery."""
    files: dict[str, bytes] = {}
    for folder, folders, names in os.walk(os.path.join(root, "celeryops")):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if not name.endswith((".pyc", ".pyo")):
                path = os.path.join(folder, name)
                with open(path, "rb") as stream:
                    files[os.path.relpath(path, root).replace(os.sep, "/")] = stream.read()
    found = re.search(rb"^__version__ = \"([^\"]+)\"", files.get("celeryops/__init__.py", b""), re.MULTILINE)
    if not found:
        raise ReleaseError(f"the runtime is missing in {root}: install the collection anew")
    version = found.group(1).decode()
    info = f"celeryops-{version}.dist-info"
    with open(os.path.join(root, "entry_points.txt"), "rb") as stream:
        files[f"{info}/entry_points.txt"] = stream.read()
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: celeryops\nVersion: {version}\n"
        "Summary: The Python that runs beside the applications of a Celery fleet\n"
        f"Requires-Python: >={MIN_PYTHON[0]}.{MIN_PYTHON[1]}\n"
    ).encode()
    record = "".join(
        f"{name},sha256={_record_hash(content)},{len(content)}\n" for name, content in sorted(files.items())
    )
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    return files


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def runtime_hash(files: t.Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()[:SHORT]
