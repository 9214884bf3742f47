# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The fingerprint of a process: what it was started from, in sixteen hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: 64 bits: two different settings of one node share a fingerprint once in 1.8e19.
LENGTH = 16


def fingerprint(value: Any) -> str:
    """Hash plain data. The order of mappings does not count, the order of lists does."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def plain(value: Any) -> Any:
    """Reduce Ansible's own string and container types to those of JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        # 30 and 30.0 seconds are the same limit.
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)
