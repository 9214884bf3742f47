# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about Flower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import floweroptions
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain


def flower_config(flower: Mapping[str, Any], password: str, cookie_secret: str) -> str:
    options = floweroptions.flower_options(plain(flower), str(password), str(cookie_secret))
    return floweroptions.flower_config(options)


def flower_problems(flower: Mapping[str, Any]) -> list[str]:
    return floweroptions.flower_problems(plain(flower))


def flower_url(flower: Mapping[str, Any], host: str) -> str:
    return floweroptions.flower_url(plain(flower), str(host))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"flower_config": flower_config, "flower_problems": flower_problems, "flower_url": flower_url}
