# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter that judges the clocks of hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import clocks
from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_seconds


def clock_problems(found: Mapping[str, Mapping[str, float]], tolerance: Any) -> list[str]:
    try:
        return clocks.clock_problems(found, parse_seconds(tolerance))
    except UnitError as error:
        raise AnsibleFilterError(f"celery_clock_tolerance = {tolerance!r} {error}.") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"clock_problems": clock_problems}
