# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment files that systemd's EnvironmentFile= and a POSIX shell read alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Variables of the collection, and what to do instead of setting them.
RESERVED = {
    "CELERY_LOADER": "Remove it: the fleet's loader is needed for readiness, settings and records",
    "CELERY_BROKER_URL": "Set celery_broker_url instead",
    "CELERY_RESULT_BACKEND": "Set celery_result_backend instead",
    "PYTHONPATH": "Set it in celery_environment, for all processes alike",
    "SPT_NOENV": "Remove it: without it a process title would overwrite the fingerprint",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: The four characters that keep a meaning between double quotes in sh; systemd unescapes the same four.
_SPECIAL = re.compile(r'(["\\$`])')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class EnvError(ValueError):
    """Values that cannot stand in an environment file; the text names each with its remedy."""


def quote(value: str) -> str:
    """Put a value between double quotes."""
    return '"' + escape(value) + '"'


def escape(value: str) -> str:
    """Escape what keeps a meaning between double quotes."""
    return _SPECIAL.sub(r"\\\1", value)


def env_problems(environment: Any, where: str = "environment") -> list[str]:
    """What keeps a mapping from being an environment. Values are never shown: some are secret."""
    if not isinstance(environment, Mapping):
        return [f"{where} is no mapping of names to values. Write it as NAME: value, one a line."]
    problems = []
    for name, value in environment.items():
        place = f"{where}[{str(name)!r}]"
        if not _NAME.match(str(name)):
            problems.append(
                f"{place}: no shell can read a variable of that name. "
                "Use letters, digits and underscores, not starting with a digit."
            )
        if value is None:
            problems.append(f'{place} has no value. Write "" for an empty one, or remove the line.')
        elif isinstance(value, bool):
            problems.append(
                f"{place} is a YAML boolean, and programs disagree on how to spell one. "
                'Quote the text the application expects, such as "1" or "true".'
            )
        elif isinstance(value, (Mapping, list, tuple)):
            problems.append(f"{place} is a list or mapping; an environment holds text. Write one string.")
        elif _CONTROL.search(str(value)):
            problems.append(
                f"{place} holds a line break or another control character, which an environment file cannot "
                "carry. Put such a value into a file and name the file here."
            )
    return problems


def reserved_problems(environment: Any, where: str = "environment", allowed: Iterable[str] = ()) -> list[str]:
    """Names that the collection sets itself, each with the variable to use instead."""
    if not isinstance(environment, Mapping):
        return []
    problems = []
    for name in environment:
        remedy = RESERVED.get(str(name))
        if str(name).startswith("CELERYOPS_"):
            remedy = "Rename it"
        if remedy and name not in allowed:
            problems.append(f"{where}[{str(name)!r}] is set by the collection itself. {remedy}.")
    return problems


def env_file(environment: Mapping[str, Any]) -> str:
    """Render NAME="value" lines, sorted by name."""
    problems = env_problems(environment)
    if problems:
        raise EnvError("\n".join(problems))
    return "".join(f"{name}={quote(str(value))}\n" for name, value in sorted(environment.items()))
