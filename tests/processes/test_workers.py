"""celery_nodes with real workers started by `celery multi`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils import processes

from .conftest import Fleet, until


def test_from_a_bare_host_to_two_nodes_and_no_further(fleet: Fleet) -> None:
    one, two = fleet.node("fruit-1", "a" * 16), fleet.node("fruit-2", "b" * 16)
    predicted = fleet.converge(one, two, check=True)
    assert predicted["changed"] and predicted["started"] == ["fruit-1", "fruit-2"]
    assert not fleet.everyone()

    done = fleet.converge(one, two)
    assert done["failures"] == []
    assert done["started"] == ["fruit-1", "fruit-2"] and done["changed"]
    assert [node["fingerprint"] for node in done["nodes"]] == ["a" * 16, "b" * 16]
    pids = [node["pid"] for node in done["nodes"]]
    assert pids == [fleet.pid("fruit-1"), fleet.pid("fruit-2")]

    again = fleet.converge(one, two)
    assert not again["changed"] and again["failures"] == []
    assert [node["pid"] for node in again["nodes"]] == pids
    assert again["diff"]["before"] == again["diff"]["after"]
