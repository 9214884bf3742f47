"""Make the checkout importable as the installed collection, so that tests need no installation.

ansible-test brings its own loader for collections; it is used when it is there.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_LINK = Path(__file__).resolve().parents[2] / ".collections"


def _importable() -> bool:
    try:
        return importlib.util.find_spec("ansible_collections.celeryops.fleet.plugins") is not None
    except ImportError:
        return False


if not _importable() and _LINK.is_dir():
    sys.path.insert(0, str(_LINK))
