"""Which Celery settings the fleet adds, and why. Pure: no application, no Redis.

Precedence, weakest first: the defaults below, what the application sets itself, the inventory's overrides.
A default applies only where the application says nothing and the installed Celery and kombu know the setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Version = tuple[int, ...]

REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
BROKER_OPTIONS = "broker_transport_options"
RESULT_OPTIONS = "result_backend_transport_options"
MERGED = (BROKER_OPTIONS, RESULT_OPTIONS)
VISIBILITY_PLACES = (
    f"{BROKER_OPTIONS}.visibility_timeout",
    "visibility_timeout",
    f"{RESULT_OPTIONS}.visibility_timeout",
)
MIN_VISIBILITY_TIMEOUT = 3600  # s, kombu's own default


@dataclass(frozen=True)
class Default:
    """A setting, or one key of a merged option (`option.key`), from the versions that know it."""

    name: str
    value: Any
    why: str
    celery: Version = (5, 5)
    kombu: Version = (5, 5)
    only: str = ""  # "broker" or "results": applies only when that side is Redis


@dataclass(frozen=True)
class Choice:
    """A setting the overlay puts in place. `source` is "default" or "override"."""

    name: str
    value: Any
    why: str
    source: str


DEFAULTS = (
    Default(
        "task_acks_late",
        True,
        "only a late acknowledgement survives a killed worker; tasks must bear a second run",
    ),
    Default("worker_prefetch_multiplier", 1, "a busy process holds no message that an idle one could run"),
    Default(
        "worker_disable_prefetch",
        True,
        "messages wait in Redis, not in a worker without a free process",
        celery=(5, 6),
        only="broker",
    ),
    Default(
        "worker_enable_prefetch_count_reduction",
        False,
        "with it an autoscaled worker keeps one process for good after a reconnect",
    ),
    Default(
        "task_retry_on_worker_lost",
        True,
        "a task whose process was killed is retried within its max_retries",
        celery=(5, 7),
    ),
    Default(
        "worker_cancel_long_running_tasks_on_connection_loss",
        True,
        "a late-acknowledged task is redelivered after a lost connection and would run twice",
    ),
    Default("broker_connection_retry_on_startup", True, "a worker that starts before Redis waits for it"),
    Default("broker_connection_max_retries", None, "after 100 failed attempts a worker would exit"),
    Default(
        "broker_pool_acquire_timeout",
        30,
        "a publisher without a free connection fails instead of hanging",
        celery=(5, 7),
    ),
    Default("task_track_started", True, "a task lost while it ran can be told from one still queued"),
    Default("worker_send_task_events", True, "dashboards and metrics read the events"),
    Default("task_send_sent_event", True, "the time a task waited in its queue can be measured"),
    Default(
        "result_failure_expires",
        7 * 86400,
        "a failure can be studied for a week, a success for a day",
        celery=(5, 7),
        only="results",
    ),
    Default(
        "worker_autoscaler",
        "celeryops.autoscale:ResourceAutoscaler",
        "with --autoscale a node grows only as far as memory, load and pressure allow",
        only="broker",
    ),
    Default("worker_max_tasks_per_child", 1000, "bounds what a slow leak can take"),
    Default(
        "worker_proc_alive_timeout",
        60.0,
        "a process that imports a large application for over 4 s is not dead",
    ),
    Default("beat_enable_remote_control", True, "beat answers inspect ping", celery=(5, 7)),
    Default("redis_socket_connect_timeout", 5.0, "an unreachable result store is noticed", only="results"),
    Default("redis_socket_keepalive", True, "a half-open connection is noticed", only="results"),
    Default("redis_backend_health_check_interval", 25, "a half-open connection is noticed", only="results"),
    Default(
        f"{BROKER_OPTIONS}.socket_timeout",
        30,
        "no command waits for ever on a dead connection",
        only="broker",
    ),
    Default(f"{BROKER_OPTIONS}.socket_connect_timeout", 5, "an unreachable Redis is noticed", only="broker"),
    Default(f"{BROKER_OPTIONS}.socket_keepalive", True, "a half-open connection is noticed", only="broker"),
    Default(
        f"{BROKER_OPTIONS}.health_check_interval", 25, "a half-open connection is noticed", only="broker"
    ),
    Default(
        f"{BROKER_OPTIONS}.unacked_restore_interval",
        30,
        "a killed worker's messages return within 30 s of their visibility timeout, not 90 s",
        kombu=(5, 7),
        only="broker",
    ),
    Default(
        f"{BROKER_OPTIONS}.unacked_restore_throttle",
        1,
        "every sweep of the interval above scans",
        kombu=(5, 7),
        only="broker",
    ),
)


def version_tuple(text: str) -> Version:
    """``5.7.0rc1`` -> ``(5, 7, 0)``."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def is_redis(url: object) -> bool:
    """Whether a URL, or the first of several, is one of kombu's or Celery's Redis schemes."""
    first = url[0] if isinstance(url, (list, tuple)) and url else url
    return str(first or "").partition("://")[0] in REDIS_SCHEMES


def lookup(settings: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Whether `name` (``option.key`` looks inside a merged option) is set, and its value."""
    option, dot, key = name.partition(".")
    if not dot:
        return option in settings, settings.get(option)
    inner = settings.get(option) or {}
    return key in inner, inner.get(key)


def visibility(settings: Mapping[str, Any], longest_task: float = 0) -> tuple[float, str]:
    """The visibility timeout in seconds that all three places shall have, and where it comes from.

    Parameters:
        settings: What is explicitly set.
        longest_task: The longest time limit of any pool of the fleet, in seconds; 0 when none has one.
    """
    for place in VISIBILITY_PLACES:
        found, value = lookup(settings, place)
        if found and value:
            return value, f"as {place}"
    limit = max(settings.get("task_time_limit") or 0, longest_task)
    if 2 * limit > MIN_VISIBILITY_TIMEOUT:
        return 2 * limit, f"twice the longest time limit, {limit:g} s"
    return MIN_VISIBILITY_TIMEOUT, "kombu's own default, named so that all places agree"


def choose(
    explicit: Mapping[str, Any],
    overrides: Mapping[str, Any],
    celery: Version,
    kombu: Version,
    broker_redis: bool,
    results_redis: bool,
    longest_task: float = 0,
    routes: Mapping[str, Any] | None = None,
) -> list[Choice]:
    """What to put in place.

    Parameters:
        explicit: Settings the application sets itself, by their lower-case names.
        overrides: Settings of the inventory, by their lower-case names.
        celery, kombu: Installed versions.
        broker_redis, results_redis: Whether broker and result backend are Redis.
        longest_task: The longest time limit of any pool of the fleet, in seconds; 0 when none has one.
        routes: Routes of the inventory, by task or pattern. They come before all others.
    """
    choices = []
    for name, value in overrides.items():
        if name in MERGED and isinstance(value, Mapping):
            choices += [
                Choice(f"{name}.{key}", item, "set in the inventory", "override")
                for key, item in value.items()
            ]
        else:
            choices.append(Choice(name, value, "set in the inventory", "override"))
    if routes:
        own = lookup(merge(explicit, choices), "task_routes")[1]
        choices = [choice for choice in choices if choice.name != "task_routes"]
        why = "celery_routes of the inventory, then the application's own"
        choices.append(Choice("task_routes", first_routes(routes, own), why, "override"))
    settled = {choice.name for choice in choices}

    applies = {"": True, "broker": broker_redis, "results": results_redis}
    wanted = [d for d in DEFAULTS if celery >= d.celery and kombu >= d.kombu and applies[d.only]]
    if broker_redis:
        seconds, why = visibility(merge(explicit, choices), longest_task)
        sides = [p for p in VISIBILITY_PLACES if results_redis or not p.startswith(RESULT_OPTIONS)]
        wanted += [Default(place, seconds, why) for place in sides]
    for default in wanted:
        if default.name not in settled and not lookup(explicit, default.name)[0]:
            choices.append(Choice(default.name, default.value, default.why, "default"))
    return choices


def merge(explicit: Mapping[str, Any], choices: list[Choice]) -> dict[str, Any]:
    """The application's settings with the choices laid over them; merged options key by key."""
    result = dict(explicit)
    for choice in choices:
        option, dot, key = choice.name.partition(".")
        if dot and option in MERGED:
            result[option] = {**(result.get(option) or {}), key: choice.value}
        else:
            result[choice.name] = choice.value
    return result


def routes_by_task(routes: Any, where: str) -> dict[str, dict[str, Any]]:
    """The inventory's list of routes as Celery's mapping, in the same order. `where` it stands is for errors.

    Raises:
        ValueError: The list is something else.
    """
    try:
        return {
            route["task"]: {key: value for key, value in route.items() if key != "task" and value is not None}
            for route in routes
        }
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f'routes in {where} must be a list of {{"task": name, "queue": name}}') from exc


def first_routes(routes: Mapping[str, Any], own: Any) -> list[Any]:
    """Celery's ``task_routes`` with `routes` before those of `own`, which may be one router or several."""
    others = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
    return [dict(routes), *others]


def contradictions(effective: Mapping[str, Any], longest_task: float) -> list[str]:
    """What of the inventory cannot work with the settings as they stand in the end, each with its remedy.

    Parameters:
        longest_task: The longest time limit of any pool of the fleet, in seconds; 0 when none has one.
    """
    timeout = lookup(effective, VISIBILITY_PLACES[0])[1]
    if not longest_task or not timeout or longest_task < timeout:
        return []
    problem = (
        f"a pool of the fleet lets a task run for {longest_task:g} s (time_limit) and the application sets a "
        f"visibility timeout of {timeout:g} s, after which Redis hands the task to a second worker while the "
        f"first still runs it; lower the time_limit, or give celery_settings.{VISIBILITY_PLACES[0]} a value "
        f"above {longest_task:g} in the inventory"
    )
    return [problem]


def doubts(effective: Mapping[str, Any], tasks: Mapping[str, float | None] | None = None) -> list[str]:
    """What in the effective settings will hurt, each with its remedy.

    Parameters:
        effective: Settings as they stand in the end.
        tasks: Hard time limit in seconds by task name, where a task has its own.
    """
    found = []
    places = {place: lookup(effective, place)[1] for place in VISIBILITY_PLACES}
    values = {value for value in places.values() if value}
    timeout = places[VISIBILITY_PLACES[0]]
    if len(values) > 1:
        listed = ", ".join(f"{place} {value}" for place, value in places.items() if value)
        found.append(
            f"the visibility timeout differs between its places ({listed}); the shortest one wins "
            "for every application on this Redis: give them one value"
        )
    limits = {"task_time_limit": effective.get("task_time_limit")}
    limits.update({f"time_limit of task {name}": value for name, value in (tasks or {}).items()})
    for name, limit in limits.items():
        if limit and timeout and limit >= timeout:
            found.append(
                f"{name} is {limit:g} s and the visibility timeout {timeout:g} s: Redis hands such a task "
                "to a second worker while the first still runs it; raise "
                f"{VISIBILITY_PLACES[0]} above {limit:g} or lower the limit"
            )
    if effective.get("worker_eta_task_limit"):
        found.append(
            "worker_eta_task_limit is set: it lowers the prefetch count to 1 step by step; remove it"
        )
    for name in ("accept_content", "result_accept_content"):
        if {"pickle", "application/x-python-serialize"} & set(effective.get(name) or ()):
            found.append(f"{name} allows pickle: whoever can write to Redis can run code here; use json")
    return found
