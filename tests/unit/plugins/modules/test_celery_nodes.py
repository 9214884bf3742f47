"""The module itself: parameters in, result out. Its parts have tests of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import lock
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.convergence import (
    Convergence,
    Layout,
    status_command,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.multi import Multi
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Wanted
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.systemd import Systemd

_MODULE = "ansible_collections.celeryops.fleet.plugins.modules."
_RUN = """
import importlib, sys
sys.path[:0] = {path!r}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = {arguments!r}.encode()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module({module!r}).main()
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(name: str, check: bool = False, **params: Any) -> dict[str, Any]:
    arguments = {"ANSIBLE_MODULE_ARGS": {"_ansible_check_mode": check, "_ansible_diff": True, **params}}
    code = _RUN.format(path=sys.path, arguments=json.dumps(arguments), module=_MODULE + name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def params(root: Path, **more: Any) -> dict[str, Any]:
    folders = {name: f"{root}/{name}" for name in ("opt_dir", "etc_dir", "run_dir", "log_dir")}
    return {"fleet": "shop", "manager": "multi", **folders, "unit_dir": f"{root}/units", **more}


@linux
def test_a_bare_host_in_check_mode(tmp_path: Path) -> None:
    node = {"name": "n-1", "nodename": "n-1@h", "fingerprint": "f"}
    result = run("celery_nodes", check=True, **params(tmp_path, nodes=[node]))
    assert result["changed"] and result["started"] == ["n-1"]
    assert result["diff"] == {"before": {"n-1": "not running"}, "after": {"n-1": "f"}}
    assert result["reasons"] == {"n-1": "is not running"}
    assert result["nodes"] == [
        {"name": "n-1", "nodename": "n-1@h", "pid": None, "fingerprint": "f", "state": "running"}
    ]
    assert os.listdir(tmp_path) == []


@linux
@pytest.mark.parametrize("kind", ["worker", "beat", "flower"])
def test_nothing_wanted_and_nothing_there(tmp_path: Path, kind: str) -> None:
    result = run("celery_nodes", **params(tmp_path, kind=kind, state="absent"))
    assert not result["changed"] and result["nodes"] == [] and result["removed"] == []


@linux
def test_absent_ignores_the_list(tmp_path: Path) -> None:
    node = {"name": "n-1", "fingerprint": "f"}
    assert not run("celery_nodes", **params(tmp_path, state="absent", nodes=[node]))["changed"]


@linux
def test_a_wrapper_that_is_not_there_fails_with_its_path(tmp_path: Path) -> None:
    node = {"name": "n-1", "fingerprint": "f", "start_timeout": 5}
    result = run("celery_nodes", **params(tmp_path, nodes=[node]))
    assert result["failed"] and f"{tmp_path}/opt_dir/bin/celery-multi" in result["msg"]
    assert result["started"] == [] and not result["changed"]


@linux
def test_two_nodes_of_one_name(tmp_path: Path) -> None:
    node = {"name": "n-1", "fingerprint": "f"}
    result = run("celery_nodes", check=True, **params(tmp_path, nodes=[node, node]))
    assert result["failed"] and "n-1 is listed twice" in result["msg"]


@linux
def test_a_detached_beat_needs_to_know_its_python(tmp_path: Path) -> None:
    node = {"name": "beat", "fingerprint": "f"}
    result = run("celery_nodes", **params(tmp_path, kind="beat", nodes=[node]))
    assert result["failed"] and "python is missing" in result["msg"]


@linux
@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_systemd_that_is_not_there(tmp_path: Path) -> None:
    result = run("celery_nodes", check=True, **params(tmp_path, manager="systemd"))
    assert result["failed"] and "celery_service_manager to multi" in result["msg"]


@linux
def test_an_environment_file_of_a_node_that_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "etc_dir/nodes").mkdir(parents=True)
    left = tmp_path / "etc_dir/nodes/old-1.env"
    left.touch()
    predicted = run("celery_nodes", check=True, **params(tmp_path))
    assert predicted["removed"] == ["old-1"] and left.exists()
    done = run("celery_nodes", **params(tmp_path))
    assert done["removed"] == ["old-1"] and not left.exists()
    assert predicted["diff"] == done["diff"] and predicted["changed"] is done["changed"] is True
    assert not run("celery_nodes", **params(tmp_path))["changed"]


def layout(**more: Any) -> Layout:
    return Layout(
        "shop", more.pop("kind", "worker"), more.pop("manager", "multi"), "/o", "/e", "/r", "/l", **more
    )


@pytest.mark.parametrize(
    "one, manager, launcher",
    [
        (layout(manager="systemd"), Systemd, None),
        (layout(manager="systemd", wrapped=True), Systemd, None),
        (layout(), Multi, "CeleryMulti"),
        (layout(wrapped=True), Multi, "Wrapped"),
        (layout(kind="beat"), Multi, "Detached"),
        (layout(kind="flower"), Multi, "Detached"),
        (layout(kind="beat", wrapped=True), Systemd, None),
        (layout(kind="flower", wrapped=True), Systemd, None),
    ],
)
def test_who_manages_what(one: Layout, manager: type, launcher: str | None) -> None:
    found = Convergence(one, [Wanted("n-1", "f")])._manager
    assert type(found) is manager
    if isinstance(found, Multi):
        assert type(found.launcher).__name__ == launcher
        assert found.inside == ("celery-shop-workers.service" if launcher == "Wrapped" else "")


def test_where_the_records_are_read() -> None:
    wrapped = ["/o/bin/run", "python", "-m", "celeryops", "status", "--json"]
    assert status_command("/o", "/e", None, None) == (wrapped, [])
    cheap = (["/v/python", "-m", "celeryops", "status", "--json"], ["/e/environment"])
    assert status_command("/o", "/e", "/v/python", None) == cheap
    assert status_command("/o", "/e", "/v/python", ["mine"]) == (["mine"], [])


@linux
def test_another_run_on_the_host_is_waited_for_and_then_named(tmp_path: Path) -> None:
    (tmp_path / "run_dir").mkdir()
    with lock.held(str(tmp_path / "run_dir"), "celery_nodes, beat", 0):
        patient = params(tmp_path, state="absent", stop_timeout=1)
        result = run("celery_nodes", **patient)
        assert result["failed"] and f"process {os.getpid()} (celery_nodes, beat)" in result["msg"]
        assert "waited 1 s for it" in result["msg"]
        # A prediction touches nothing, so it need not wait.
        assert not run("celery_nodes", check=True, **patient).get("failed")
    assert not run("celery_nodes", **patient).get("failed")
