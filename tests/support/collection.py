"""Modules of the collection, run in this process: a Python of their own would cost more than they do."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))


def run_module(name: str, arguments: dict[str, Any], **flags: bool) -> dict[str, Any]:
    """Run a module as on a host; flags are check and diff."""
    wrapped = dict(
        arguments,
        _ansible_check_mode=flags.get("check", False),
        _ansible_diff=flags.get("diff", False),
        _ansible_remote_tmp=tempfile.gettempdir(),
    )
    module = importlib.import_module(f"ansible_collections.celeryops.fleet.plugins.modules.{name}")
    said = io.StringIO()
    with patch_module_args(wrapped), contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        module.main()
    return dict(json.loads(said.getvalue()))
