# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters about beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.beat import options, shown
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain


def beat_argv(beat: Mapping[str, Any], schedule: str) -> list[str]:
    given = plain(beat)
    return options.beat_argv(str(schedule), given["log_level"], given["max_interval"], given["extra_args"])


def beat_settings(beat: Mapping[str, Any], token: str) -> str:
    return options.beat_settings(plain(beat), str(token))


def beat_problems(beat: Mapping[str, Any]) -> list[str]:
    return options.beat_problems(plain(beat))


def beat_report(answer: Mapping[str, Any]) -> list[str]:
    return shown.beat_report(plain(answer))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {
            "beat_argv": beat_argv,
            "beat_problems": beat_problems,
            "beat_report": beat_report,
            "beat_settings": beat_settings,
        }
