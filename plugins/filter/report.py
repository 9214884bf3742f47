# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that judge and show what the fleet's records say."""

from __future__ import annotations

from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.report import fleet_report, proof_problems


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_report": fleet_report, "proof_problems": proof_problems}
