# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a beat is started with, and what keeps that from working."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.beat.place import place_problems
from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_seconds

#: The scheduler that stands by on every candidate and sends on one. It runs the one that is asked for inside.
LEASE_SCHEDULER = "celeryops.beat:LeaseScheduler"

# A class as Celery imports it (module:Class or module.Class), or a name that a package registers.
_SCHEDULER = re.compile(r"[A-Za-z_]\w*([.:][A-Za-z_]\w*)*\Z")

_DURATIONS = ("lease", "poll", "max_interval", "watchdog", "start_timeout", "stop_timeout")

_CATCH_UP = ("all", "coalesce", "skip")

_LEAST_LEASE = 1.0
"""Seconds. Below it a slow answer of Redis ends a lease."""

_ELSEWHERE = {
    "-A": "Set celery_app",
    "--app": "Set celery_app",
    "-b": "Set celery_broker_url: every user of the host can read a command line",
    "--broker": "Set celery_broker_url: every user of the host can read a command line",
    "-D": "Remove it: the service manager keeps the process",
    "--detach": "Remove it: the service manager keeps the process",
    "-f": "Remove it: the service manager keeps the log",
    "--logfile": "Remove it: the service manager keeps the log",
    "--pidfile": "Remove it: the service manager keeps the process",
    "-s": "Remove it: the schedule is kept in the fleet's folder of data",
    "--schedule": "Remove it: the schedule is kept in the fleet's folder of data",
    "-S": "Set celery_beat_scheduler",
    "--scheduler": "Set celery_beat_scheduler",
    "--max-interval": "Set celery_beat_max_interval",
    "-l": "Set celery_beat_log_level",
    "--loglevel": "Set celery_beat_log_level",
    "--uid": "Set celery_user",
    "--gid": "Set celery_group",
}


def beat_argv(schedule: str, log_level: str, max_interval: Any = "", extra: Sequence[str] = ()) -> list[str]:
    """What follows `celery -A app`. An empty interval leaves it to the scheduler."""
    argv = ["beat", "-s", schedule, "-l", log_level, "-S", LEASE_SCHEDULER]
    if max_interval:
        argv += ["--max-interval", str(int(parse_seconds(max_interval)))]
    return argv + list(extra)


def beat_settings(beat: Mapping[str, Any], token: str) -> str:
    """What the lease's scheduler reads from CELERYOPS_BEAT.

    Args:
        beat: the role's variables without `celery_beat_`.
        token: file in which the holder keeps its token.
    """
    return json.dumps(
        {
            "scheduler": beat["scheduler"],
            "lease": parse_seconds(beat["lease"]),
            "poll": parse_seconds(beat["poll"]),
            "catch_up": beat["catch_up"],
            "catch_up_limit": beat["catch_up_limit"],
            "catch_up_entries": beat["catch_up_entries"],
            "token": token,
        },
        sort_keys=True,
    )


def beat_problems(beat: Mapping[str, Any]) -> list[str]:
    """Every reason why these variables cannot work, as sentences.

    Args:
        beat: the role's variables without `celery_beat_`; `hosts` are the candidates, `host` is the former
            variable.
    """
    problems = _former(beat.get("host")) + place_problems(
        beat.get("hosts"), beat.get("preferred"), beat.get("pinned")
    )
    scheduler = beat.get("scheduler")
    if scheduler and not (isinstance(scheduler, str) and _SCHEDULER.match(scheduler)):
        problems.append(
            f"celery_beat_scheduler = {_show(scheduler)} is no class that can be imported. "
            "Write one such as django_celery_beat.schedulers:DatabaseScheduler, or leave it empty."
        )
    elif scheduler in (LEASE_SCHEDULER, LEASE_SCHEDULER.replace(":", ".")):
        problems.append(
            f"celery_beat_scheduler = {_show(scheduler)} is the one that every beat of the fleet has. "
            "Name the one that shall run inside it, or leave it empty."
        )
    for key in _DURATIONS:
        problems += _duration(f"celery_beat_{key}", beat.get(key), whole=key == "max_interval")
    problems += _timing(beat.get("lease"), beat.get("poll"))
    problems += _catch_up(beat)
    for word in beat.get("extra_args") or []:
        remedy = _ELSEWHERE.get(_option(str(word)))
        if remedy:
            problems.append(
                f"celery_beat_extra_args has {_show(word)}, which the role sets itself. {remedy}."
            )
    return problems


def _former(host: Any) -> list[str]:
    if not host:
        return []
    one = host if isinstance(host, str) else "HOST"
    return [
        (
            f"celery_beat_host = {_show(host)} is no variable any more: every host of the group celery_beat "
            "runs beat now, and the one that has the lease sends. Remove it. To have beat send from one "
            f"host alone, write celery_beat_pinned: {one}; to have it there as long as that host is fit, "
            f"celery_beat_preferred: {one}."
        )
    ]


def _timing(lease: Any, poll: Any) -> list[str]:
    try:
        lasts, every = parse_seconds(lease), parse_seconds(poll)
    except UnitError:
        return []  # said already
    if lasts < _LEAST_LEASE:
        return [
            (
                f"celery_beat_lease = {_show(lease)} is below {_LEAST_LEASE:g} s: a slow answer of Redis "
                "would end it. Write 10s."
            )
        ]
    if not 0 < every <= lasts:
        return [
            (
                f"celery_beat_poll = {_show(poll)} must be above 0 and at most celery_beat_lease = "
                f"{_show(lease)}: a host that looks less often leaves the lease free for longer than it "
                "lasts. Write 1s."
            )
        ]
    return []


def _catch_up(beat: Mapping[str, Any]) -> list[str]:
    one_of = f"Write one of {', '.join(_CATCH_UP)}."
    problems = []
    limit, entries = beat.get("catch_up_limit"), beat.get("catch_up_entries")
    if beat.get("catch_up") not in _CATCH_UP:
        problems.append(f"celery_beat_catch_up = {_show(beat.get('catch_up'))} is not known. {one_of}")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        problems.append(
            f"celery_beat_catch_up_limit = {_show(limit)} is no whole number from 1 on. Write 100."
        )
    if not isinstance(entries, Mapping):
        return [
            *problems,
            (
                f"celery_beat_catch_up_entries = {_show(entries)} is no mapping. Write the name of an entry "
                "of the schedule and its policy, one a line, such as nightly: all."
            ),
        ]
    return problems + [
        f"celery_beat_catch_up_entries[{str(name)!r}] = {_show(policy)} is not known. {one_of}"
        for name, policy in entries.items()
        if policy not in _CATCH_UP
    ]


def _option(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _duration(name: str, value: Any, whole: bool) -> list[str]:
    if whole and value in ("", None):
        return []
    try:
        seconds = parse_seconds(value)
    except UnitError as error:
        return [f"{name} = {_show(value)} {error}."]
    if whole and (seconds < 1 or seconds != int(seconds)):
        return [f"{name} = {_show(value)} is no whole number of seconds. Write 1s or more, such as 20s."]
    return []


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
