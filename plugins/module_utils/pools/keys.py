# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keys of a worker pool: what each may hold, and why not something else.

A checker takes a value as it stands in the inventory and returns it in one fixed form: bytes, seconds, whole
numbers, lists of text. It raises ValueError whose text continues the sentence "KEY = VALUE ...".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.celeryops.fleet.plugins.module_utils.units import parse_bytes, parse_seconds

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
POOL_CLASSES = ("prefork", "threads", "solo", "gevent", "eventlet")
#: Keys that only some pool classes obey; the others would take them without a word and do nothing.
SUPPORT = {
    "autoscale": ("prefork",),
    "max_tasks_per_child": ("prefork",),
    "max_memory_per_child": ("prefork",),
    "soft_time_limit": ("prefork",),
    "time_limit": ("prefork", "gevent"),
    "optimization": ("prefork",),
    "concurrency": ("prefork", "threads", "gevent", "eventlet"),
}
#: Shorter than this, a busy but healthy event loop would be taken for a stuck one.
SHORTEST_WATCHDOG = 10

_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")
#: systemd names end at 255 bytes; this leaves room for the fleet, the prefix and the node's number.
_NAME_LENGTH = 63
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Checker = Callable[[Any], Any]


def name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(
            "cannot name a pool: units, files and Celery nodes bear the name. Start with a lower-case "
            "letter, then use lower-case letters, digits, - and _"
        )
    if len(value) > _NAME_LENGTH:
        raise ValueError(f"is longer than {_NAME_LENGTH} characters, too long for a unit's name. Shorten it")
    return str(value)


def queues(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("is no list. Write the queues as a list, such as [celery]")
    if not value:
        raise ValueError("is empty, so the pool would consume nothing. List the queues, such as [celery]")
    for queue in value:
        if not isinstance(queue, str) or not queue.strip():
            raise ValueError(f"holds {queue!r}, which is no queue name. List names as text")
        if queue.startswith("-") or re.search(r"[,%\x00-\x1f\x7f]", queue):
            raise ValueError(
                f"holds {str(queue)!r}: a leading -, commas, % and control characters cannot pass through "
                "celery's -Q option. Rename the queue"
            )
    if len(set(value)) != len(value):
        raise ValueError("lists a queue twice. List each queue once")
    return [str(queue) for queue in value]


def whole(minimum: int, noun: str, remedy: str) -> Checker:
    def check(value: Any) -> int:
        if isinstance(value, str) and re.match(r"\d+\Z", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"is no whole number of {noun}. Write {remedy}")
        if value < minimum:
            raise ValueError(f"is below {minimum}, the least number of {noun}. Write {remedy}")
        return int(value)

    return check


def number(minimum: float, remedy: str) -> Checker:
    def check(value: Any) -> float:
        if isinstance(value, str) and re.match(r"\d+(\.\d+)?\Z", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"is no number. Write {remedy}")
        if value < minimum:
            raise ValueError(f"is below {minimum:g}. Write {remedy}")
        return float(value)

    return check


def percent(value: Any) -> float:
    if value == "0" or (isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0):
        return 0.0
    match = re.match(r"(\d+(?:\.\d+)?)\s*%\Z", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('is no share of time. Write percents, such as "10%", or 0 to ignore it')
    if float(match.group(1)) > 100:
        raise ValueError('is above 100%, which no share of time can be. Write less, such as "10%"')
    return float(match.group(1))


def some(check: Checker, remedy: str) -> Checker:
    """Of sizes and durations where 0 would be no guard at all."""

    def positive(value: Any) -> Any:
        found = check(value)
        if not found:
            raise ValueError(f"is zero. Write {remedy}")
        return found

    return positive


#: The limits of an autoscaled node and the guards that hold it back, see docs/autoscaler.md.
AUTOSCALE: dict[str, Checker] = {
    "min": whole(0, "processes", "how few there may be, such as 1"),
    "max": whole(1, "processes", "how many there may be, such as 8"),
    "memory_reserve": parse_bytes,
    "child_memory": some(parse_bytes, "what one process needs at least, such as 64MB"),
    "load_per_cpu": number(0, "a load for each CPU, such as 2.0, or 0 to ignore it"),
    "psi_memory": percent,
    "psi_cpu": percent,
    "psi_io": percent,
    "backlog": whole(1, "messages", "how many may wait for each process, such as 1"),
    "queue_wait": some(parse_seconds, "how long a message may wait, such as 30s, or leave it out"),
    "grow_step": whole(1, "processes", "how many may start at once, such as 4"),
    "shrink_step": whole(1, "processes", "how many may end at once, such as 2"),
    "cooldown": parse_seconds,
    "idle": some(parse_seconds, "how long fewer processes must have sufficed, such as 30s"),
}


#: In what the checkers return sizes, times and shares.
_BASE_UNITS = {
    **dict.fromkeys(("memory_reserve", "child_memory"), "B"),
    **dict.fromkeys(("queue_wait", "cooldown", "idle"), "s"),
    **dict.fromkeys(("psi_memory", "psi_cpu", "psi_io"), "%"),
}


def limit(key: str, value: Any) -> Any:
    """One key of `AUTOSCALE` in its base unit. The error is a sentence of its own."""
    if key not in AUTOSCALE:
        near = difflib.get_close_matches(str(key), AUTOSCALE, 1, 0.5)
        hint = f"Write {near[0]} if you meant that" if near else f"Use {', '.join(AUTOSCALE)}"
        raise ValueError(f"{key} = {value!r} is no limit. {hint}")
    try:
        return AUTOSCALE[key](value)
    except ValueError as error:
        raise ValueError(f"{key} = {value!r} {error}") from None


def written(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits in base units as they stand in an inventory."""
    return {
        key: f"{value}{_BASE_UNITS[key]}" if key in _BASE_UNITS else value for key, value in limits.items()
    }


def autoscale(value: Any) -> dict[str, Any]:
    example = "{min: 1, max: 8}"
    if not isinstance(value, Mapping):
        raise ValueError(f"is no mapping. Write it as {example}")
    checked = {}
    for key, item in value.items():
        try:
            checked[str(key)] = limit(key, item)
        except ValueError as error:
            raise ValueError(f"cannot be used: {error}") from None
    for key in ("min", "max"):
        if key not in checked:
            raise ValueError(f"has no {key}. Write it as {example}")
    low, high = checked["min"], checked["max"]
    if low > high:
        raise ValueError(f"has min {low} above max {high}, and no number satisfies both. Swap or mend them")
    return checked


def choice(options: Any, upper: bool = False) -> Checker:
    def check(value: Any) -> str:
        text = str(value).upper() if upper and isinstance(value, str) else value
        if not isinstance(text, str) or text not in options:
            raise ValueError(f"is not known. Use one of {', '.join(options)}")
        return str(text)

    return check


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is no boolean. Write true or false, without quotes")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str) or _CONTROL.search(value):
        raise ValueError("is no line of text. Write one line, in quotes where it holds : or #")
    return str(value)


def texts(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("is no list. Write a list with one text for each item")
    if any(not isinstance(item, str) or not item or _CONTROL.search(item) for item in value):
        raise ValueError("holds an item that is no line of text. Quote each item and keep it on one line")
    return [str(item) for item in value]


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("is no mapping. Write NAME: value, one a line")
    return {str(key): item for key, item in value.items()}


def at_least(seconds: float, remedy: str) -> Checker:
    def check(value: Any) -> float:
        found = parse_seconds(value)
        if found < seconds:
            raise ValueError(f"is shorter than {seconds} s. Write {remedy}")
        return found

    return check


def watchdog(value: Any) -> float:
    found = parse_seconds(value)
    if 0 < found < SHORTEST_WATCHDOG:
        raise ValueError(
            f"is shorter than {SHORTEST_WATCHDOG} s, in which a healthy worker may be too busy to report. "
            "Write 60s, or 0 for no watchdog"
        )
    return found


def cpu_quota(value: Any) -> str:
    if not isinstance(value, str) or not re.match(r"[1-9]\d*%\Z", value):
        raise ValueError('is no share of CPU time. Write percents of one CPU, such as "150%"')
    return str(value)


CHECKERS: dict[str, Checker] = {
    "name": name,
    "queues": queues,
    "nodes": whole(0, "nodes on each host", "1 or more, or 0 to stand the pool down"),
    "hosts": texts,
    "concurrency": whole(1, "processes", "1 or more, or leave it out for one process a CPU"),
    "autoscale": autoscale,
    "pool": choice(POOL_CLASSES),
    "optimization": choice(("fair", "default")),
    "prefetch_multiplier": whole(1, "messages for each process", "1 or more"),
    "max_tasks_per_child": whole(0, "tasks", "how many until a process is replaced, or 0 for no limit"),
    "max_memory_per_child": parse_bytes,
    "soft_time_limit": parse_seconds,
    "time_limit": parse_seconds,
    "log_level": choice(LOG_LEVELS, upper=True),
    "log_format": text,
    "task_log_format": text,
    "events": boolean,
    "environment": mapping,
    "settings": mapping,
    "memory_max": parse_bytes,
    "memory_high": parse_bytes,
    "cpu_quota": cpu_quota,
    "watchdog": watchdog,
    "start_timeout": at_least(1, "the time a worker may need until it is ready, such as 2m"),
    "stop_timeout": at_least(1, "the time the longest task may need, such as 30m"),
    "extra_args": texts,
}
