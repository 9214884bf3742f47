# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils import beatoptions
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain


def beat_argv(beat: Mapping[str, Any], schedule: str) -> list[str]:
    given = plain(beat)
    return beatoptions.beat_argv(
        str(schedule), given["log_level"], given["scheduler"], given["max_interval"], given["extra_args"]
    )


def beat_problems(beat: Mapping[str, Any]) -> list[str]:
    return beatoptions.beat_problems(plain(beat))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"beat_argv": beat_argv, "beat_problems": beat_problems}
