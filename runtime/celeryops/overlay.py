"""Lays the chosen settings over an application's configuration, and remembers what it did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
import kombu
from celery.app.defaults import NAMESPACES, flatten

from celeryops import settings
from celeryops.log import mask

DEFAULTS = {name: option.default for name, option in flatten(NAMESPACES)}
KNOWN = {
    *DEFAULTS,
    "visibility_timeout",
    "redis_backend_health_check_interval",
}  # Celery reads these two as well


class Overlay:
    """The settings of the fleet on one application.

    Parameters:
        path: JSON file of the inventory, ``{"settings": {...}, "longest_task": seconds, "routes": [{"task":
            name or pattern, "queue": name}, ...]}``; empty for none.
        extra: The same mapping as JSON text, for one node alone; it wins over the file.
    """

    def __init__(self, path: str = "", extra: str = "") -> None:
        self.choices: list[settings.Choice] = []
        self.error = ""
        self._written: dict[str, _Written] = {}
        self._overrides: dict[str, Any] = {}
        self._routes: dict[str, Any] = {}
        self.longest_task = 0.0
        try:
            shared = _document(Path(path).read_text(encoding="utf-8"), path) if path else {}
            own = _document(extra, "CELERYOPS_NODE_SETTINGS") if extra else {}
            self._overrides = {**shared.get("settings", {}), **own.get("settings", {})}
            self.longest_task = float(shared.get("longest_task", 0))
            self._routes = settings.routes_by_task(shared.get("routes", []), path)
        except (OSError, ValueError) as exc:
            self.error = str(exc)

    @classmethod
    def from_env(cls) -> Overlay:
        return cls(os.environ.get("CELERYOPS_SETTINGS", ""), os.environ.get("CELERYOPS_NODE_SETTINGS", ""))

    def apply(self, conf: Any) -> None:
        """Put every choice in place; to be called again whenever the application may have changed some."""
        self._take_back(conf)
        explicit = explicit_settings(conf, _names_of_interest(self._overrides))
        self.choices = settings.choose(
            explicit,
            self._overrides,
            settings.version_tuple(celery.__version__),
            settings.version_tuple(kombu.__version__),
            settings.is_redis(conf.broker_url),
            settings.is_redis(conf.result_backend),
            self.longest_task,
            self._routes,
        )
        wanted = settings.merge(explicit, self.choices)
        for name in {choice.name.partition(".")[0] for choice in self.choices}:
            self._write(conf, name, wanted[name])

    def drop(self, conf: Any, name: str, why: str) -> bool:
        """Withdraw a default that does not fit this process; what application or inventory set stays."""
        choice = next((c for c in self.choices if c.name == name and c.source == "default"), None)
        if choice is None:
            return False
        self.choices[self.choices.index(choice)] = settings.Choice(name, DEFAULTS[name], why, "default")
        self._write(conf, name, DEFAULTS[name])
        return True

    def report(self) -> list[dict[str, Any]]:
        """The choices for people and tools, sorted, without secrets."""
        return [
            {"setting": c.name, "value": _presentable(c.name, c.value), "why": c.why, "source": c.source}
            for c in sorted(self.choices, key=lambda c: c.name)
        ]

    def unknown(self) -> list[str]:
        """Overrides that the installed Celery does not know."""
        return sorted(set(self._overrides) - KNOWN)

    def _write(self, conf: Any, name: str, value: Any) -> None:
        # Whatever spelling the application used, the first one that Celery looks up wins.
        spellings = _spellings(conf, name)
        before = {key: conf.changes.pop(key) for key in spellings if key in conf.changes}
        written = self._written.setdefault(spellings[0], _Written(value, before))
        written.value = conf.changes[spellings[0]] = value

    def _take_back(self, conf: Any) -> None:
        # Celery keeps assignments across a reload; left there they would pass for the application's own.
        for spelling, written in self._written.items():
            if spelling in conf.changes and conf.changes[spelling] is written.value:
                del conf.changes[spelling]
                conf.changes.update(written.before)
        self._written = {}


@dataclass
class _Written:
    value: Any
    before: dict[str, Any]  # what stood there, in the application's spelling


def explicit_settings(conf: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those of `names` that the application sets itself, in whatever spelling."""
    found = {}
    for name in names:
        for layer in conf.maps[:-1]:  # the last one holds Celery's own defaults
            spelling = next((s for s in _spellings(conf, name) if s in layer), None)
            if spelling is not None:
                found[name] = layer[spelling]
                break
    return found


def _spellings(conf: Any, name: str) -> list[str]:
    """Every name under which Celery would look for a setting, in its order: namespaced, new, old."""
    names = [*conf._to_keys(name), *(translate(name) for translate in conf._keys or ())]
    return list(dict.fromkeys(conf._key(one) for one in names))


def _names_of_interest(overrides: Mapping[str, Any]) -> set[str]:
    names = {default.name.partition(".")[0] for default in settings.DEFAULTS}
    return (
        names
        | set(settings.MERGED)
        | {"visibility_timeout", "task_time_limit", "task_routes"}
        | set(overrides)
    )


def _document(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{where} is not JSON: {exc}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("settings", {}), dict):
        raise ValueError(
            f'{where} must hold {{"settings": {{...}}}} with lower-case names of Celery settings'
        )
    return document


def _presentable(name: str, value: Any) -> Any:
    if any(word in name.lower() for word in ("password", "secret", "kwargs")):
        return "********"
    if isinstance(value, str) and "://" in value:
        return mask(value)
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
