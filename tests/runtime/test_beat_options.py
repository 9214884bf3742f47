from __future__ import annotations

import json
from typing import Any

import celery
import pytest
from celeryops.beat.inner import CannotWrapError, find, why_not
from celeryops.beat.ledger import Line, task_id
from celeryops.beat.options import COALESCE, Options, OptionsError


def options(**given: Any) -> Options:
    return Options.from_env({"CELERYOPS_BEAT": json.dumps(given)})


def test_without_options_the_defaults_hold() -> None:
    assert Options.from_env({}) == Options()
    assert Options().policy("any") == COALESCE


def test_an_entry_may_have_a_policy_of_its_own() -> None:
    chosen = options(catch_up="skip", catch_up_entries={"nightly": "all"})
    assert chosen.policy("nightly") == "all"
    assert chosen.policy("other") == "skip"


@pytest.mark.parametrize(
    "given, named",
    [
        ({"lease": 0.5}, "lease = 0.5"),
        ({"lease": "10s"}, "lease = '10s'"),
        ({"poll": 0}, "poll = 0"),
        ({"lease": 5, "poll": 6}, "up to lease = 5"),
        ({"catch_up": "some"}, "catch_up = 'some' must be one of all, coalesce, skip"),
        ({"catch_up_entries": {"nightly": "never"}}, "catch_up_entries.nightly = 'never'"),
        ({"catch_up_entries": ["nightly"]}, "catch_up_entries must map"),
        ({"catch_up_limit": 0}, "catch_up_limit = 0"),
        ({"scheduler": 7}, "scheduler must be text"),
        ({"leese": 10}, "leese, which this runtime does not know"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionsError, match="CELERYOPS_BEAT") as refused:
        options(**given)
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="CELERYOPS_BEAT"):
        Options.from_env({"CELERYOPS_BEAT": text})


def test_a_line_of_the_ledger_is_read_as_it_was_written() -> None:
    from datetime import datetime, timezone

    line = Line(datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc), 7, "an|id")
    assert Line.read(line.text()) == line
    assert line.text() == "2026-03-01T12:00:00.123456+00:00|7|an|id"


def test_the_id_of_a_task_says_fleet_entry_and_slot_and_nothing_else() -> None:
    from datetime import datetime, timezone

    slot = datetime(2026, 3, 1, tzinfo=timezone.utc)
    assert task_id("shop", "a", slot) == task_id("shop", "a", slot)
    assert len({task_id("shop", "a", slot), task_id("shop", "b", slot), task_id("other", "a", slot)}) == 3


_App = celery.Celery("options", set_as_current=False)


def test_the_applications_scheduler_is_the_inner_one() -> None:
    from celery.beat import PersistentScheduler, Scheduler

    assert find(_App, "") is PersistentScheduler
    assert find(_App, "celery.beat:Scheduler") is Scheduler


@pytest.mark.parametrize(
    "name", ["django_celery_beat.schedulers:DatabaseScheduler", "redbeat:RedBeatScheduler"]
)
def test_the_schedulers_that_people_use_can_be_wrapped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module, _, kind = name.partition(":")
    if module.startswith("django"):
        from django.conf import settings

        if not settings.configured:
            settings.configure(INSTALLED_APPS=["django_celery_beat"], USE_TZ=True)
            import django

            django.setup()
    assert why_not(getattr(importlib.import_module(module), kind)) == ""


def test_a_scheduler_that_decides_in_its_own_tick_is_refused_with_the_reason() -> None:
    from celery.beat import PersistentScheduler
    from celeryops.beat.scheduler import LeaseScheduler

    class Own(PersistentScheduler):
        def tick(self, *args: Any, **kwargs: Any) -> float:
            return 1.0

    assert "Own has a tick of its own" in why_not(Own)
    assert "no subclass of celery.beat.Scheduler" in why_not(dict)
    assert "the lease's own scheduler" in why_not(LeaseScheduler)


@pytest.mark.parametrize("name", ["nowhere:Scheduler", "celery.beat:Nothing"])
def test_a_scheduler_that_cannot_be_imported_is_refused(name: str) -> None:
    with pytest.raises(CannotWrapError, match="cannot be imported"):
        find(_App, name)
