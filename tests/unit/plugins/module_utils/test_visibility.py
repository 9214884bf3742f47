from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.filter.pools import pool_problems

OPTIONS = {"broker_transport_options": {"visibility_timeout": 3600}}


def problems(settings: dict[str, Any], pool: dict[str, Any]) -> list[str]:
    return pool_problems([{"name": "default", "queues": ["celery"], **pool}], settings=settings)


@pytest.mark.parametrize(
    "settings, limit", [({}, "9h"), (OPTIONS, "59m"), (OPTIONS, 0), ({"broker_transport_options": {}}, "2h")]
)
def test_a_limit_below_the_timeout_is_sound(settings: dict[str, Any], limit: Any) -> None:
    assert problems(settings, {"time_limit": limit}) == []


@pytest.mark.parametrize(
    "settings, pool, words",
    [
        (OPTIONS, {"time_limit": "1h"}, ["time_limit of 3600 s", "celery_settings.broker_transport_options"]),
        ({"visibility_timeout": 60}, {"time_limit": "2m"}, ["of 120 s", "60 s", "above 120"]),
        ({**OPTIONS, "task_time_limit": 7200}, {}, ["celery_settings.task_time_limit of 7200 s"]),
        ({}, {"time_limit": "2h", "settings": OPTIONS}, ["celery_worker_pools[0] (default): settings."]),
        ({"visibility_timeout": "4h"}, {}, ['"4h" is no number of seconds', "14400"]),
    ],
)
def test_a_limit_that_is_not(settings: dict[str, Any], pool: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems(settings, pool)
    assert not [word for word in words if word not in problem], problem
