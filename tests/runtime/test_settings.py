from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from celeryops import settings

NEW = (5, 7, 0)


def chosen(
    explicit: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    celery: settings.Version = NEW,
    kombu: settings.Version = NEW,
    broker: bool = True,
    results: bool = True,
) -> dict[str, settings.Choice]:
    choices = settings.choose(explicit or {}, overrides or {}, celery, kombu, broker, results)
    assert len({choice.name for choice in choices}) == len(choices)
    return {choice.name: choice for choice in choices}


def test_defaults_apply_where_nobody_speaks() -> None:
    choices = chosen()
    assert choices["task_acks_late"].value is True
    assert choices["broker_transport_options.socket_timeout"].value == 30
    assert {choice.source for choice in choices.values()} == {"default"}
    assert all(choice.why for choice in choices.values())


def test_the_application_beats_a_default_and_the_inventory_beats_both() -> None:
    explicit = {"task_acks_late": False, "worker_prefetch_multiplier": 4}
    choices = chosen(explicit, {"worker_prefetch_multiplier": 2})
    assert "task_acks_late" not in choices
    assert choices["worker_prefetch_multiplier"].value == 2
    assert choices["worker_prefetch_multiplier"].source == "override"


def test_transport_options_are_merged_key_by_key() -> None:
    explicit = {"broker_transport_options": {"global_keyprefix": "shop:", "socket_timeout": 7, "sep": ":"}}
    overrides = {"broker_transport_options": {"sep": "|"}}
    merged = settings.merge(explicit, list(chosen(explicit, overrides).values()))["broker_transport_options"]
    assert merged["global_keyprefix"] == "shop:"
    assert merged["socket_timeout"] == 7
    assert merged["sep"] == "|"
    assert merged["socket_keepalive"] is True
    assert explicit["broker_transport_options"]["sep"] == ":"


@pytest.mark.parametrize(
    "name, celery, kombu, known",
    [
        ("worker_disable_prefetch", (5, 5, 3), (5, 5, 4), False),
        ("worker_disable_prefetch", (5, 6, 0), (5, 6, 2), True),
        ("task_retry_on_worker_lost", (5, 6, 3), (5, 7, 0), False),
        ("task_retry_on_worker_lost", (5, 7, 0), (5, 7, 0), True),
        ("broker_pool_acquire_timeout", (5, 6, 3), (5, 7, 0), False),
        ("result_failure_expires", (5, 7, 0), (5, 7, 0), True),
        ("beat_enable_remote_control", (5, 5, 3), (5, 5, 4), False),
        ("broker_transport_options.unacked_restore_throttle", (5, 6, 3), (5, 6, 2), False),
        ("broker_transport_options.unacked_restore_throttle", (5, 6, 3), (5, 7, 0), True),
        ("task_acks_late", (5, 5, 0), (5, 5, 0), True),
    ],
)
def test_a_setting_waits_for_its_version(
    name: str, celery: settings.Version, kombu: settings.Version, known: bool
) -> None:
    assert (name in chosen(celery=celery, kombu=kombu)) is known


def test_options_of_redis_need_redis() -> None:
    names = chosen(broker=False, results=False)
    assert "task_acks_late" in names
    assert not [name for name in names if "redis" in name or "transport" in name or "visibility" in name]
    assert "worker_disable_prefetch" not in names


@pytest.mark.parametrize(
    "explicit, overrides, expected",
    [
        ({}, {}, 3600),
        ({"task_time_limit": 600}, {}, 3600),
        ({"task_time_limit": 7200}, {}, 14400),
        ({"task_time_limit": 7200}, {"task_time_limit": 10000}, 20000),
        ({"visibility_timeout": 99}, {}, 99),
        ({"result_backend_transport_options": {"visibility_timeout": 500}}, {}, 500),
        ({"broker_transport_options": {"visibility_timeout": 43200}}, {}, 43200),
        ({}, {"broker_transport_options": {"visibility_timeout": 60}}, 60),
    ],
)
def test_the_visibility_timeout_is_one_value_in_three_places(
    explicit: dict[str, Any], overrides: dict[str, Any], expected: float
) -> None:
    merged = settings.merge(explicit, list(chosen(explicit, overrides).values()))
    assert {settings.lookup(merged, place)[1] for place in settings.VISIBILITY_PLACES} == {expected}


@pytest.mark.parametrize(
    "effective, tasks, word",
    [
        ({"task_time_limit": 3600}, {}, "task_time_limit is 3600 s"),
        ({}, {"shop.report": 4000.0}, "time_limit of task shop.report is 4000 s"),
        ({"visibility_timeout": 60}, {}, "differs between its places"),
        ({"worker_eta_task_limit": 10}, {}, "worker_eta_task_limit"),
        ({"accept_content": ["json", "pickle"]}, {}, "pickle"),
    ],
)
def test_doubts_name_the_place_and_the_remedy(
    effective: dict[str, Any], tasks: dict[str, float | None], word: str
) -> None:
    base = {"broker_transport_options": {"visibility_timeout": 3600}}
    (doubt,) = settings.doubts({**base, **effective}, tasks)
    assert word in doubt


def test_no_doubts_about_the_defaults() -> None:
    assert settings.doubts(settings.merge({}, list(chosen().values()))) == []


@pytest.mark.parametrize(
    "url, expected",
    [
        ("redis://h/0", True),
        ("rediss://h/0", True),
        ("redis+socket:///run/redis.sock", True),
        ("sentinel://a:26379;sentinel://b:26379", True),
        (["redis://a", "redis://b"], True),
        ("amqp://h", False),
        ("django-db", False),
        (None, False),
    ],
)
def test_is_redis(url: object, expected: bool) -> None:
    assert settings.is_redis(url) is expected


def test_version_tuple() -> None:
    assert settings.version_tuple("5.7.0rc1") == (5, 7, 0)
    assert settings.version_tuple("5.10") > settings.version_tuple("5.9.9")


def test_every_default_is_documented() -> None:
    readme = (Path(settings.__file__).parents[1] / "README.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_.]+)`", readme, re.MULTILINE))
    assert {default.name for default in settings.DEFAULTS} <= documented
