# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about the hosts of a fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def host_places(
    hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]], fleet: str
) -> list[dict[str, str]]:
    """Where each host is: its machine, and the fleet's folder of releases on it."""
    return [_place(str(host), hostvars[host], fleet) for host in hosts]


def _place(host: str, variables: Mapping[str, Any], fleet: str) -> dict[str, str]:
    prefix = variables.get("celery_prefix") or ""
    facts = variables.get("ansible_facts") or {}
    return {
        "host": host,
        "machine": str(facts.get("machine_id") or ""),
        "opt_dir": str(variables.get("celery_opt_dir") or f"{prefix}/opt/celery/{fleet}"),
    }


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"host_places": host_places}
