"""The scheduler inside: it knows the entries and keeps them, and sends nothing by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery import beat
from celery.utils.imports import load_extension_class_names, symbol_by_name

from celeryops.beat.ledger import Line

# Schedulers that look for what is due in a tick of their own, of which it is known that nothing is lost with
# it.
_KNOWN_TICKS = ("redbeat.schedulers",)


class CannotWrapError(Exception):
    """A scheduler that cannot run behind the lease; the text says why and what to do."""


def find(app: Any, name: str) -> type[beat.Scheduler]:
    """The class of the inner scheduler.

    Parameters:
        app: The application; its ``beat_scheduler`` serves when `name` is empty.
        name: ``module:Class``, or a name that a package registers.

    Raises:
        CannotWrapError: It cannot be imported, or cannot run behind the lease.
    """
    wanted = name or app.conf.beat_scheduler or beat.PersistentScheduler
    try:
        found = symbol_by_name(wanted, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    except (ImportError, AttributeError, ValueError) as exc:
        raise CannotWrapError(
            f"beat's scheduler {wanted} cannot be imported: {exc}. Correct celery_beat_scheduler or the "
            "application's beat_scheduler, or add its package to the application"
        ) from exc
    problem = why_not(found)
    if problem:
        raise CannotWrapError(f"beat's scheduler {wanted} cannot run on one host of several: {problem}")
    return found


def why_not(found: Any) -> str:
    """Why a class cannot run behind the lease; empty when it can."""
    if not isinstance(found, type) or not issubclass(found, beat.Scheduler):
        return "it is no subclass of celery.beat.Scheduler"
    if getattr(found, "celeryops_lease", False):
        return "it is the lease's own scheduler; name the one that shall run inside it"
    for kind in found.__mro__:
        if kind is beat.Scheduler:
            break
        if "tick" in vars(kind) and kind.__module__ not in _KNOWN_TICKS:
            return (
                f"{kind.__module__}.{kind.__qualname__} has a tick of its own, in which it decides what "
                "is sent, and the fence would not see it. Use one that leaves tick to Celery, such as "
                "celery.beat:PersistentScheduler or django_celery_beat.schedulers:DatabaseScheduler"
            )
    return ""


class Inner:
    """An inner scheduler at work.

    Parameters:
        scheduler: Made by the class that `find` gives, with its schedule set up.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def entries(self) -> dict[str, Any]:
        """Its entries as they are now: the same object while nothing has changed."""
        return self.scheduler.schedule

    def align(self, entry: Any, line: Line, zone: Any) -> None:
        """Let the entry have run when the ledger says, whatever its own store has kept."""
        if entry.last_run_at == line.slot:
            return
        entry.last_run_at = line.slot.astimezone(zone)
        if hasattr(entry, "reschedule"):  # RedBeat finds what is due by an index of its own
            entry.reschedule(entry.last_run_at)

    def advance(self, entry: Any, line: Line, zone: Any) -> Any:
        """The entry after it has run for the slot of `line`; its store is told."""
        following = self.scheduler.reserve(entry)
        model = getattr(following, "model", None)
        if model is not None:  # django-celery-beat saves the row, not the entry
            model.last_run_at = line.slot.astimezone(zone)
        self.align(following, line, zone)
        return following

    def send(self, entry: Any, producer: Any, task_id: str, headers: dict[str, Any]) -> Any:
        """Send the entry's task through `producer`, under `task_id`."""
        # Not by copy.copy: what Celery's entries give for that makes none of django-celery-beat's.
        sent = object.__new__(type(entry))
        sent.__dict__.update(vars(entry))
        options = dict(entry.options or {})
        sent.options = {
            **options,
            "task_id": task_id,
            "headers": {**(options.get("headers") or {}), **headers},
        }
        return self.scheduler.apply_async(sent, producer=producer, advance=False)

    def close(self) -> None:
        self.scheduler.close()


def last_ran(entry: Any, now: datetime) -> datetime:
    """When the inner scheduler says that an entry ran last; now for one that never did."""
    found = entry.last_run_at
    if found is None:
        return now
    return entry.schedule.maybe_make_aware(found) if found.tzinfo is None else found
