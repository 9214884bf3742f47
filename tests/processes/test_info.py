"""celery_info on a real fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.support.waiting import until

from .conftest import Fleet

A = "a" * 16

_RUN = """
import sys
sys.path[:0] = {path!r}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = {arguments!r}.encode()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.celeryops.fleet.plugins.modules import celery_info
celery_info.main()
"""


def info(fleet: Fleet, **more: Any) -> dict[str, Any]:
    folders = {"opt_dir": fleet.layout.opt_dir, "etc_dir": fleet.layout.etc_dir, "python": sys.executable}
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {**folders, **more}})
    code = _RUN.format(path=sys.path, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout))


def test_a_sound_fleet_and_one_with_a_frozen_node(fleet: Fleet) -> None:
    fleet.converge(fleet.node("fruit-1", A), fleet.node("fruit-2", A))
    fleet.converge(fleet.beat(A), kind="beat")
    until(lambda: info(fleet, cross_check=False)["beats"], "beat has a record")

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
