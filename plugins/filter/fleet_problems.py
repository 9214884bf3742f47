# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter that judges a fleet's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import fleetcheck
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain


def fleet_problems(fleet: Mapping[str, Any]) -> list[str]:
    return fleetcheck.fleet_problems(plain(fleet))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_problems": fleet_problems}
