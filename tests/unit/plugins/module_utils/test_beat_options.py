# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.beat.options import (
    LEASE_SCHEDULER,
    beat_argv,
    beat_problems,
    beat_settings,
)

SOUND: dict[str, Any] = {
    "host": "",
    "hosts": ["worker1", "worker2"],
    "preferred": "",
    "pinned": "",
    "lease": "10s",
    "poll": "1s",
    "catch_up": "coalesce",
    "catch_up_limit": 100,
    "catch_up_entries": {},
    "scheduler": "",
    "max_interval": "",
    "log_level": "INFO",
    "watchdog": "60s",
    "start_timeout": "2m",
    "stop_timeout": "30s",
    "extra_args": [],
}


def test_the_plain_command_line() -> None:
    assert beat_argv("/var/lib/celery/shop/beat/schedule", "INFO") == [
        *("beat", "-s", "/var/lib/celery/shop/beat/schedule", "-l", "INFO", "-S", LEASE_SCHEDULER)
    ]


def test_what_may_be_chosen() -> None:
    argv = beat_argv("/s", "DEBUG", "1m", ["--quiet"])
    assert argv[3:] == ["-l", "DEBUG", "-S", LEASE_SCHEDULER, "--max-interval", "60", "--quiet"]


def test_what_the_lease_goes_by() -> None:
    given = {**SOUND, "scheduler": "django", "lease": "1m", "poll": "500ms", "catch_up_entries": {"n": "all"}}
    assert json.loads(beat_settings(given, "/run/celery/shop/beat.lease")) == {
        "scheduler": "django",
        "lease": 60,
        "poll": 0.5,
        "catch_up": "coalesce",
        "catch_up_limit": 100,
        "catch_up_entries": {"n": "all"},
        "token": "/run/celery/shop/beat.lease",
    }


def test_where_beat_shall_send_from_restarts_nothing() -> None:
    assert beat_settings({**SOUND, "pinned": "worker1"}, "/t") == beat_settings(SOUND, "/t")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"hosts": ["worker1"], "pinned": "worker1"},
        {"preferred": "worker2"},
        {"scheduler": "celery.beat.PersistentScheduler", "max_interval": "20s"},
        {"scheduler": "django", "watchdog": 0},
        {"catch_up": "all", "catch_up_limit": 1, "catch_up_entries": {"nightly": "skip"}},
        {"lease": "3s", "poll": "3s"},
        {"extra_args": ["--no-enable-remote-control", "-C"]},
    ],
)
def test_sound_variables(more: dict[str, Any]) -> None:
    assert beat_problems({**SOUND, **more}) == []


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("host", "worker1", "celery_beat_pinned: worker1; to have it there as long as that host is fit"),
        ("host", ["worker1", "worker2"], "is no variable any more"),
        ("hosts", [], "No host is a candidate for beat"),
        ("pinned", "wroker1", 'celery_beat_pinned = "wroker1" is no candidate, which are worker1, worker2'),
        ("preferred", "attic", 'celery_beat_preferred = "attic" is no candidate'),
        ("pinned", ["worker1"], "is not the name of one host"),
        ("lease", "500ms", "is below 1 s"),
        ("lease", "10", "has no unit"),
        ("poll", "11s", "at most celery_beat_lease"),
        ("poll", 0, "must be above 0"),
        ("catch_up", "some", "Write one of all, coalesce, skip"),
        ("catch_up_limit", 0, "no whole number from 1 on"),
        ("catch_up_limit", True, "no whole number from 1 on"),
        ("catch_up_entries", ["nightly"], "is no mapping"),
        ("catch_up_entries", {"nightly": "once"}, "celery_beat_catch_up_entries['nightly'] = \"once\""),
        ("scheduler", "rm -rf /", "celery_beat_scheduler"),
        ("scheduler", "a..b", "celery_beat_scheduler"),
        ("scheduler", LEASE_SCHEDULER, "Name the one that shall run inside it"),
        ("max_interval", "20", "has no unit"),
        ("max_interval", "500ms", "no whole number of seconds"),
        ("max_interval", "0", "no whole number of seconds"),
        ("watchdog", "soon", "celery_beat_watchdog"),
        ("start_timeout", "", "celery_beat_start_timeout"),
        ("extra_args", ["-S", "x"], "Set celery_beat_scheduler"),
        ("extra_args", ["--schedule=/tmp/s"], "celery_beat_extra_args"),
        ("extra_args", ["-lDEBUG"], "Set celery_beat_log_level"),
        ("extra_args", ["--detach"], "service manager"),
    ],
)
def test_what_cannot_work_is_told_with_value_and_remedy(key: str, value: Any, says: str) -> None:
    (problem,) = beat_problems({**SOUND, key: value})
    assert says in problem
    assert problem.endswith(".")


def test_pinned_and_preferred_exclude_each_other() -> None:
    (problem,) = beat_problems({**SOUND, "pinned": "worker1", "preferred": "worker2"})
    assert "exclude each other" in problem
