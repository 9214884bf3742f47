from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.scaling import ScalingError, scaled_nodes

POOLS: list[dict[str, Any]] = [
    {"name": "default", "queues": ["celery"], "autoscale": {"min": 1, "max": 8}, "nodes": 2},
    {"name": "fast", "queues": ["fast"], "autoscale": {"min": 1, "max": 2}, "hosts": ["w2"]},
    {"name": "ml", "queues": ["ml"], "concurrency": 2},
]


def test_every_node_of_the_pool_on_this_host() -> None:
    asked = {"max": "12", "memory_reserve": "1GB", "load_per_cpu": "1.5", "psi_io": "0"}
    assert scaled_nodes(POOLS, "w1", "default", asked) == [
        {"name": "default-1", "nodename": "default-1@w1", "limits": asked},
        {"name": "default-2", "nodename": "default-2@w1", "limits": asked},
    ]


def test_a_host_without_the_pool_has_none() -> None:
    assert scaled_nodes(POOLS, "w1", "fast", {"max": 3}) == []


@pytest.mark.parametrize(
    "pool, limits, words",
    [
        ("defualt", {"max": 3}, ["'defualt' is no pool", "Did you mean default?", "fast (1 to 2 processes)"]),
        ("ml", {"max": 3}, ["ml has no autoscale", "celery_worker_pools"]),
        ("default", {}, ["nothing is asked of pool default", "min, max"]),
        ("default", {"max": "many"}, ["max = 'many'", "whole number"]),
        ("default", {"memory_reserve": "512"}, ["memory_reserve = '512' has no unit"]),
        ("default", {"maximum": 3}, ["maximum = 3 is no limit"]),
    ],
)
def test_what_cannot_be_is_refused(pool: str, limits: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ScalingError) as refused:
        scaled_nodes(POOLS, "w1", pool, limits)
    assert all(word in str(refused.value) for word in words), refused.value
