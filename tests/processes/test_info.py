"""celery_info on a real fleet."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tests.support.collection import run_module

from .conftest import A, Fleet


def info(fleet: Fleet, **more: Any) -> dict[str, Any]:
    folders = {"opt_dir": fleet.layout.opt_dir, "etc_dir": fleet.layout.etc_dir, "python": sys.executable}
    return run_module("celery_info", {**folders, **more})


def test_a_sound_fleet_and_one_with_a_frozen_node(fleet: Fleet) -> None:
    fleet.converge(fleet.node("fruit-1", A), fleet.node("fruit-2", A))
    fleet.converge(fleet.beat(A), kind="beat")  # waits for its record

    sound = info(fleet, expected=["fruit-1@host", "fruit-2@host"], timeout=30)
    assert sound["fleet"] == "orchard" and sound["problems"] == []
    assert sound["inspect"] == {"fruit-1@host": "ok", "fruit-2@host": "ok"}
    assert {node["pid"] for node in sound["nodes"]} == {fleet.pid("fruit-1"), fleet.pid("fruit-2")}
    assert [beat["pid"] for beat in sound["beats"]] == [fleet.pid("beat")]

    os.kill(fleet.pid("fruit-2"), signal.SIGSTOP)
    frozen = info(fleet, timeout=10)
    assert frozen["inspect"] == {"fruit-1@host": "ok", "fruit-2@host": "no reply"}
    assert any("fruit-2@host" in problem and "answers no ping" in problem for problem in frozen["problems"])
    os.kill(fleet.pid("fruit-2"), signal.SIGCONT)


def test_a_fleet_of_which_nothing_runs(fleet: Fleet) -> None:
    result = info(fleet)
    assert result["found"] and result["nodes"] == [] and result["inspect"] == {}
    assert "No worker node keeps a record" in result["problems"][0]
