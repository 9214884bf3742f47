# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.beatoptions import beat_argv, beat_problems

SOUND: dict[str, Any] = {
    "host": "worker1",
    "hosts": ["worker1", "worker2"],
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
        *("beat", "-s", "/var/lib/celery/shop/beat/schedule", "-l", "INFO")
    ]


def test_what_may_be_chosen() -> None:
    argv = beat_argv("/s", "DEBUG", "django_celery_beat.schedulers:DatabaseScheduler", "1m", ["--quiet"])
    assert argv[3:] == [
        *("-l", "DEBUG", "-S", "django_celery_beat.schedulers:DatabaseScheduler"),
        *("--max-interval", "60", "--quiet"),
    ]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"scheduler": "celery.beat.PersistentScheduler", "max_interval": "20s"},
        {"scheduler": "django", "watchdog": 0},
        {"extra_args": ["--no-enable-remote-control", "-C"]},
    ],
)
def test_sound_variables(more: dict[str, Any]) -> None:
    assert beat_problems({**SOUND, **more}) == []


@pytest.mark.parametrize(
    "key, value, says",
    [
        (
            "host",
            "wroker1",
            'celery_beat_host = "wroker1" is none of the hosts that may run it, worker1, worker2',
        ),
        ("host", ["worker1", "worker2"], "does not name exactly one host. Two beats would"),
        ("host", None, "celery_beat_host = null does not name exactly one host"),
        ("scheduler", "rm -rf /", "celery_beat_scheduler"),
        ("scheduler", "a..b", "celery_beat_scheduler"),
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
