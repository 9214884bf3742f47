# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a task may run for longer than Redis waits before it hands the task to a second worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import LIST, Pool

_OPTIONS = ("broker_transport_options", "result_backend_transport_options")
_KEY = "visibility_timeout"


def visibility_problems(pools: Sequence[Pool], settings: Mapping[str, Any]) -> list[str]:
    """Time limits that are not below the visibility timeout of the inventory. Sound pools only.

    Where the inventory names none, the runtime chooses one that is long enough. The shortest one of any
    process holds for all: each of them looks for messages that seem lost.
    """
    problems: list[str] = []
    timeouts: list[tuple[float, str]] = []
    for place, value in _timeouts(pools, settings):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            shown = json.dumps(value, ensure_ascii=False, default=str)
            problems.append(f"{place} = {shown} is no number of seconds. Write one, such as 14400.")
        else:
            timeouts.append((value, place))
    if problems or not timeouts:
        return problems
    shortest, place = min(timeouts)
    for limited, limit in _limits(pools, settings):
        if limit >= shortest:
            problems.append(
                f"{limited} of {limit:g} s is not below the visibility timeout of {shortest:g} s "
                f"({place}): Redis would hand a task to a second worker while the first still runs it. "
                f"Set the visibility timeout above {limit:g}, lower the limit, or remove the visibility "
                "timeout: twice the longest limit is the default."
            )
    return problems


def _timeouts(pools: Sequence[Pool], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    given = [("celery_settings", settings)]
    given += [
        (f"{_place(index, pool)}: settings", pool.get("settings") or {}) for index, pool in enumerate(pools)
    ]
    for where, one in given:
        for option in _OPTIONS:
            inner = one.get(option)
            if isinstance(inner, Mapping) and inner.get(_KEY) is not None:
                yield f"{where}.{option}.{_KEY}", inner[_KEY]
        if one.get(_KEY) is not None:
            yield f"{where}.{_KEY}", one[_KEY]


def _limits(pools: Sequence[Pool], settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    given = settings.get("task_time_limit")
    if isinstance(given, (int, float)) and given:
        yield "celery_settings.task_time_limit", given
    for index, pool in enumerate(pools):
        if pool.get("time_limit"):
            yield f"{_place(index, pool)}: time_limit", pool["time_limit"]


def _place(index: int, pool: Pool) -> str:
    return f"{LIST}[{index}] ({pool['name']})"
