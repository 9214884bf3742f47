# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that read sizes and durations."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.module_utils.units import (
    UnitError,
    parse_bytes,
    parse_seconds,
)


def seconds(value: Any, where: str = "duration") -> float:
    try:
        return parse_seconds(value)
    except UnitError as error:
        raise AnsibleFilterError(f"{where} = {value!r} {error}.") from None


def to_bytes(value: Any, where: str = "size") -> int:
    try:
        return parse_bytes(value)
    except UnitError as error:
        raise AnsibleFilterError(f"{where} = {value!r} {error}.") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"bytes": to_bytes, "seconds": seconds}
