"""Does this application run in the fleet? Imports it whole and says what will hurt."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import celery
import kombu

from celeryops import schedulelint, settings
from celeryops.loader import FleetLoader
from celeryops.log import mask
from celeryops.overlay import KNOWN

LOADER = "celeryops.loader:FleetLoader"


def check(app: Any) -> dict[str, Any]:
    """Import every task module of `app` and describe it. Import errors are the caller's to show."""
    conf = app.conf
    app.loader.import_default_modules()
    app.finalize()
    app.backend  # noqa: B018  a result backend that cannot be loaded fails here, not in the first worker
    tasks = {name: task for name, task in app.tasks.items() if not name.startswith(("celery.", "celeryops."))}
    limits = {name: task.time_limit for name, task in tasks.items()}
    effective = {name: conf.get(name) for name in KNOWN}
    prefix = (conf.get(settings.BROKER_OPTIONS) or {}).get("global_keyprefix", "")
    overlay = app.loader.overlay if isinstance(app.loader, FleetLoader) else None
    errors = [] if overlay else [_loader_ignored(app)]
    warnings = settings.doubts(effective, limits) if settings.is_redis(conf.broker_url) else []
    if overlay:
        errors += settings.contradictions(effective, overlay.longest_task)
        warnings += [
            f"{name} is not a setting of Celery {celery.__version__}; it is passed on as it is"
            for name in overlay.unknown()
        ]
        chosen = {choice.name for choice in overlay.choices if choice.source == "override"}
        if prefix and f"{settings.BROKER_OPTIONS}.global_keyprefix" not in chosen:
            warnings.append(
                f"the application itself sets global_keyprefix {prefix!r}: tools that do not import it look "
                f"in the wrong place; put it into celery_settings.{settings.BROKER_OPTIONS} as well"
            )
    scheduled = schedulelint.entries(conf.beat_schedule or {}, app.tasks)
    warnings += schedulelint.lint(scheduled, app.timezone, app.tasks, datetime.now(timezone.utc))
    if not settings.is_redis(conf.broker_url):
        errors.append(
            f"the broker {mask(conf.broker_url) or '(none)'} is not Redis: "
            "this collection deploys Celery on Redis; "
            "set celery_broker_url to a redis://, rediss://, redis+socket:// or sentinel:// URL"
        )
    return {
        "ok": not errors,
        "app": app.main or "",
        "celery": celery.__version__,
        "kombu": kombu.__version__,
        "python": platform.python_version(),
        "tasks": sorted(tasks),
        "queues": sorted(set(app.amqp.queues) | _routed_queues(conf.task_routes)),
        "default_queue": conf.task_default_queue,
        "broker": mask(conf.broker_url),
        "result_backend": mask(conf.result_backend),
        "global_keyprefix": prefix,
        "scheduled": sorted(one.name for one in scheduled),
        "settings": overlay.report() if overlay else [],
        "warnings": warnings,
        "errors": errors,
    }


def _loader_ignored(app: Any) -> str:
    kind = type(app.loader)
    used = f"{kind.__module__}:{kind.__qualname__}"
    if os.environ.get("CELERY_LOADER") != LOADER:
        return (
            f"CELERY_LOADER is not {LOADER} in this environment, so the application uses {used}: "
            "load the environment file of the fleet first"
        )
    return (
        f"the application names its own loader, {used}, which wins over CELERY_LOADER: "
        f"without {LOADER} there are no settings, readiness or records; drop loader= from Celery(...)"
    )


def _routed_queues(routes: Any) -> set[str]:
    found = set()
    for table in routes if isinstance(routes, (list, tuple)) else [routes]:
        targets = table.values() if isinstance(table, Mapping) else []
        for target in targets:
            queue = target.get("queue") if isinstance(target, Mapping) else target
            if queue is not None:
                found.add(str(getattr(queue, "name", queue)))
    return found
