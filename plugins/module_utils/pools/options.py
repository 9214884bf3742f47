# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of `celery worker`: a pool's keys as options, and options as arguments.

An option is a pair of its long name and its value, None for a flag. Units write them short where everybody
knows the letter; the multi file writes them long, which is the form that takes a node's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional, Tuple

Option = Tuple[str, Optional[str]]

#: celery worker's one-letter options: long name, and whether a value follows.
LETTERS = {
    "A": ("app", True),
    "b": ("broker", True),
    "n": ("hostname", True),
    "D": ("detach", False),
    "S": ("statedb", True),
    "l": ("loglevel", True),
    "O": ("optimization", True),
    "c": ("concurrency", True),
    "P": ("pool", True),
    "E": ("task-events", False),
    "Q": ("queues", True),
    "X": ("exclude-queues", True),
    "I": ("include", True),
    "B": ("beat", False),
    "s": ("schedule-filename", True),
    "f": ("logfile", True),
    "C": ("no-color", False),
    "q": ("quiet", False),
    "h": ("help", False),
}
SHORT = {
    "hostname": "-n",
    "queues": "-Q",
    "optimization": "-O",
    "concurrency": "-c",
    "pool": "-P",
    "loglevel": "-l",
    "task-events": "-E",
}
_KEYS = {
    "queues": "queues",
    "optimization": "optimization",
    "concurrency": "concurrency",
    "autoscale": "autoscale",
    "pool": "pool",
    "prefetch-multiplier": "prefetch_multiplier",
    "max-tasks-per-child": "max_tasks_per_child",
    "max-memory-per-child": "max_memory_per_child",
    "time-limit": "time_limit",
    "soft-time-limit": "soft_time_limit",
    "loglevel": "log_level",
    "task-events": "events",
    "events": "events",
}
_ELSEWHERE = {
    "app": "set celery_app",
    "broker": "set celery_broker_url: every user of the host can read a command line and its passwords",
    "result-backend": "set celery_result_backend: every user of the host can read a command line",
    "loader": "the fleet's loader is needed for readiness, settings and records",
    "config": "use celery_settings",
    "hostname": "the pool's name and the host make the node's name",
    "statedb": "each node has a state file of its own",
    "workdir": "the release sets the working directory",
    "logfile": "the service manager keeps the log",
    "pidfile": "the service manager keeps the process",
    "detach": "the service manager keeps the process",
    "uid": "set celery_user",
    "gid": "set celery_group",
    "umask": "the service manager sets it",
    "executable": "the release sets the interpreter",
    "help": "the worker would print its help and end",
    "purge": "every start would delete the waiting tasks",
    "discard": "every start would delete the waiting tasks",
    "cmd": "celery multi takes it for itself",
    "append": "celery multi takes it for itself",
    "prefix": "celery multi takes it for itself",
    "suffix": "celery multi takes it for itself",
    "range-prefix": "celery multi takes it for itself",
    "quiet": "celery multi takes it for itself",
    "verbose": "celery multi takes it for itself",
    "nosplash": "celery multi takes it for itself",
    "no-color": "logs are written without colours already where they do not go to a terminal",
}
_FLAGS = ("without-gossip", "without-mingle", "without-heartbeat", "disable-prefetch", "task-events")
_BEAT = ("beat", "schedule", "schedule-filename", "scheduler")


def parse_extra(arguments: Iterable[str]) -> tuple[list[Option], list[str]]:
    """Read extra arguments as Celery's command line does. Returns the options and what is wrong with them."""
    options: list[Option] = []
    problems: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word.startswith("--") and len(word) > 2:
            long, given, value = word[2:].partition("=")
            if given:
                options.append((long, value))
            elif long not in _FLAGS and words and not words[0].startswith("-"):
                options.append((long, words.pop(0)))
            else:
                options.append((long, None))
        elif word.startswith("-") and word != "--" and len(word) > 1:
            _parse_letters(word, words, options, problems)
        else:
            problems.append(
                f"holds {word!r}, which belongs to no option; celery multi would take it for a node. "
                "Write options only, such as --without-gossip or --heartbeat-interval=10"
            )
    seen = set()
    for long, option_value in options:
        problems.extend(_judge(long, option_value, long in seen))
        seen.add(long)
    return options, problems


def _parse_letters(word: str, words: list[str], options: list[Option], problems: list[str]) -> None:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter not in LETTERS:
            problems.append(
                f"holds {word!r}, and celery worker knows no option -{letter}. Write the long option instead"
            )
            return
        long, takes_value = LETTERS[letter]
        if not takes_value:
            options.append((long, None))
            continue
        if not rest and not words:
            problems.append(f"ends with -{letter}, which needs a value. Add it")
            return
        options.append((long, rest or words.pop(0)))
        return


def _judge(long: str, value: str | None, repeated: bool) -> list[str]:
    name = f"holds --{long}"
    if long in _BEAT:
        why = "a beat inside a worker runs once for every node and sends each periodic task as many times"
        return [f"{name}: {why}. Remove it; beat is a process of its own on one host (role celery_beat)"]
    if long in _KEYS:
        return [f"{name}, which the pool's own key sets. Remove it and set {_KEYS[long]}"]
    if long in _ELSEWHERE:
        return [f"{name}: {_ELSEWHERE[long]}. Remove it"]
    if repeated:
        return [f"{name} twice, of which celery multi keeps the last. Give it once, values parted by commas"]
    if value is not None and long in _FLAGS:
        return [f"{name} with a value, and this option takes none. Remove the value"]
    if value == "":
        return [f"{name} with an empty value, which celery multi drops. Remove it or give a value"]
    if ":" in long or any(character.isspace() for character in long):
        return [f"{name}, which is no option's name. Write --name=value"]
    if value is not None and "%" in value:
        return [f"{name} with a % in its value, which celery multi and worker read differently. Remove the %"]
    return []


def pool_options(pool: Mapping[str, Any], nodename: str, statedb: str) -> list[Option]:
    """The options of one node, in the order in which a reader looks for them."""
    options: list[Option] = [("hostname", nodename), ("queues", ",".join(pool["queues"]))]
    if pool["pool"] != "prefork":
        options.append(("pool", pool["pool"]))
    if pool.get("optimization") == "fair":
        options.append(("optimization", "fair"))
    scale = pool.get("autoscale")
    if scale:
        options.append(("autoscale", f"{scale['max']},{scale['min']}"))
    for key, divisor in (
        ("concurrency", 1),
        ("prefetch_multiplier", 1),
        ("max_tasks_per_child", 1),
        # Celery counts this one in KiB.
        ("max_memory_per_child", 1024),
        ("soft_time_limit", 1),
        ("time_limit", 1),
    ):
        value = pool.get(key)
        if value:
            options.append((key.replace("_", "-"), str(value if divisor == 1 else max(1, value // divisor))))
    options.append(("loglevel", pool["log_level"]))
    if pool["events"]:
        options.append(("task-events", None))
    options.append(("statedb", statedb))
    return options + parse_extra(pool.get("extra_args") or [])[0]


def to_argv(options: Iterable[Option]) -> list[str]:
    argv: list[str] = []
    for long, value in options:
        if long in SHORT:
            argv.append(SHORT[long])
            if value is not None:
                argv.append(value)
        else:
            argv.append(f"--{long}" if value is None else f"--{long}={value}")
    return argv


def from_argv(argv: Iterable[str]) -> list[Option]:
    """The inverse of to_argv."""
    return parse_extra(argv)[0]
