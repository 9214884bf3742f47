# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a beat is started with, and what keeps that from working."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_seconds

# A class as Celery imports it (module:Class or module.Class), or a name that a package registers.
_SCHEDULER = re.compile(r"[A-Za-z_]\w*([.:][A-Za-z_]\w*)*\Z")

_DURATIONS = ("max_interval", "watchdog", "start_timeout", "stop_timeout")

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


def beat_argv(
    schedule: str, log_level: str, scheduler: str = "", max_interval: Any = "", extra: Sequence[str] = ()
) -> list[str]:
    """What follows `celery -A app`. An empty scheduler or interval leaves it to the application."""
    argv = ["beat", "-s", schedule, "-l", log_level]
    if scheduler:
        argv += ["-S", scheduler]
    if max_interval:
        argv += ["--max-interval", str(int(parse_seconds(max_interval)))]
    return argv + list(extra)


def beat_problems(beat: Mapping[str, Any]) -> list[str]:
    """Every reason why these variables cannot work, as sentences.

    Args:
        beat: the role's variables without `celery_beat_`, and `hosts`, the hosts that may run it.
    """
    problems = []
    host, hosts = beat.get("host"), list(beat.get("hosts") or [])
    if not isinstance(host, str):
        problems.append(
            f"celery_beat_host = {_show(host)} does not name exactly one host. Two beats would send every "
            "scheduled task twice, none would send none. Write the one host as the inventory names it."
        )
    elif host not in hosts:
        problems.append(
            f"celery_beat_host = {_show(host)} is none of the hosts that may run it, {', '.join(hosts)}: no "
            "beat would run. Write one of them, or put the host into the inventory's group of beat."
        )
    scheduler = beat.get("scheduler")
    if scheduler and not (isinstance(scheduler, str) and _SCHEDULER.match(scheduler)):
        problems.append(
            f"celery_beat_scheduler = {_show(scheduler)} is no class that can be imported. "
            "Write one such as django_celery_beat.schedulers:DatabaseScheduler, or leave it empty."
        )
    for key in _DURATIONS:
        problems += _duration(f"celery_beat_{key}", beat.get(key), whole=key == "max_interval")
    for word in beat.get("extra_args") or []:
        remedy = _ELSEWHERE.get(_option(str(word)))
        if remedy:
            problems.append(
                f"celery_beat_extra_args has {_show(word)}, which the role sets itself. {remedy}."
            )
    return problems


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
