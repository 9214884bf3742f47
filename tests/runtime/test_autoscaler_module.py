"""celery_autoscaler on running nodes: the module, the wrappers of a host, real workers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import PYTHON
from tests.support.collection import run_module

NODES = ("default-1", "default-2")
FULL = tuple(f"{name}@worker1" for name in NODES)
LIMITS = {"min": 1, "max": 3}
TIMEOUT = 10  # s; a node that works answers in it on a busy machine, too


class Host:
    """The folders of a host, with two nodes of which each has limits of its own."""

    def __init__(self, grove: Any, until: Callable[..., Any]) -> None:
        self.grove = grove
        self.until = until
        self.etc, self.run_dir, opt = (grove.folder / name for name in ("etc", "run", "opt"))
        for folder in (self.etc / "nodes", self.run_dir, opt / "bin"):
            folder.mkdir(parents=True)
        # The inventory says so, too: what reads the records need not import the application.
        grove.settings(broker_transport_options={"global_keyprefix": "grove:"})
        self.opt = opt
        self.write_wrappers("")
        grove.environment["CELERYOPS_RUN_DIR"] = str(self.run_dir)
        self.workers = {name: self._start(name) for name in NODES}
        until(lambda: len(self.records()) == 2, "both nodes are ready")

    def _start(self, name: str) -> Any:
        file = self.etc / "nodes" / f"{name}.autoscale.json"
        file.write_text(json.dumps(LIMITS))
        arguments = ("worker", "-n", f"{name}@worker1", "-l", "info", "--autoscale=3,1")
        return self.grove.start(*arguments, CELERYOPS_NODE=name, CELERYOPS_AUTOSCALE_FILE=str(file))

    def write_wrappers(self, first: str) -> None:
        """As the role celery writes them, but for what `celery` does first."""
        environment = self.grove.environment
        lines = [f"{key}='{value}'" for key, value in environment.items() if "CELERY" in key]
        lines += [f"PYTHONPATH='{environment['PYTHONPATH']}'", ""]
        (self.etc / "environment").write_text("\n".join(lines))
        path = f"PATH={Path(PYTHON).parent}:$PATH"
        run = ["set -a", f". {self.etc}/environment", path, f"cd {self.grove.folder}", 'exec "$@"']
        celery = [first, f'exec {self.opt}/bin/run python -m celery -A grove "$@"']
        for name, lines in (("run", run), ("celery", celery)):
            wrapper = self.opt / "bin" / name
            wrapper.write_text("\n".join(["#!/bin/sh", *lines, ""]))
            wrapper.chmod(0o755)

    def records(self) -> dict[str, Any]:
        nodes = self.grove.books().read()["nodes"]
        return {node["node"]: node for node in nodes if node["status"] == "ready"}

    def files(self) -> dict[str, Any]:
        return {
            name: json.loads((self.etc / "nodes" / f"{name}.autoscale.json").read_text()) for name in NODES
        }

    def apply(self, limits: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {
            "fleet": "grove",
            "nodes": [
                {"name": name, "nodename": full, "limits": limits}
                for name, full in zip(NODES, FULL, strict=True)
            ],
            "opt_dir": str(self.opt),
            "etc_dir": str(self.etc),
            "run_dir": str(self.run_dir),
            "timeout": TIMEOUT,
            "python": PYTHON,
            **more,
        }
        return run_module("celery_autoscaler", arguments, check=check, diff=True)


@pytest.fixture
def host(own_grove: Any, until: Callable[..., Any]) -> Host:
    return Host(own_grove, until)


def test_limits_that_cannot_be_change_nothing_and_others_become_live_and_last(
    host: Host, subtests: Any
) -> None:
    pids = {name: worker.pid for name, worker in host.workers.items()}
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for wrong, words in (
        ({**LIMITS, "memroy_reserve": "1GB"}, "memroy_reserve = '1GB' is no limit. Write memory_reserve"),
        ({**LIMITS, "memory_reserve": 512}, "memory_reserve = 512 has no unit"),
        ({"min": 5, "max": 2}, "min 5 above max 2"),
        ({**LIMITS, "memory_reserve": f"{2 * total}B"}, "bytes in all, so it could never grow"),
        ({"max": 2}, "has no min"),
    ):
        with subtests.test(words):
            refused = host.apply(wrong)
            assert refused["failed"] is True
            assert refused["msg"].startswith("Nothing was changed")
            assert all(name in refused["msg"] for name in FULL)
            assert words in refused["msg"]
            assert host.files() == dict.fromkeys(NODES, LIMITS)

    wanted = {"min": 1, "max": 5, "memory_reserve": "50MB"}
    plain = {"min": 1, "max": 5, "memory_reserve": 50_000_000}

    with subtests.test("check mode says what would be, and changes nothing"):
        asked = host.apply(wanted, check=True)
        assert asked["changed"] is True
        assert asked["nodes"][FULL[0]] == {"before": LIMITS, "after": plain, "live": "confirmed"}
        assert '"max": 5' in json.dumps(asked["diff"]).replace('\\"', '"')
        assert host.files() == dict.fromkeys(NODES, LIMITS)
        assert {node["autoscaler"]["max"] for node in host.records().values()} == {3}

    with subtests.test("every node confirms, its file says the same, its record too"):
        done = host.apply(wanted)
        assert done["changed"] is True
        assert {node["live"] for node in done["nodes"].values()} == {"confirmed"}
        assert host.files() == dict.fromkeys(NODES, plain)
        host.until(
            lambda: [node["autoscaler"]["given"] for node in host.records().values()] == [plain, plain],
            "the records say so",
        )

    with subtests.test("the same again changes nothing, and no broadcast is needed"):
        again = host.apply(wanted)
        assert (again["changed"], again["diff"]) == (False, [])
        assert {node["live"] for node in again["nodes"].values()} == {"already"}

    with subtests.test("what somebody else changed in the running node alone is taken back"):
        host.grove.run("celery", "-A", "grove", "control", "-d", FULL[0], "autoscale", "2", "1")
        assert host.apply(wanted)["nodes"][FULL[0]]["live"] == "confirmed"

    with subtests.test("others stay when they are asked to, and the wrapper reads the records, too"):
        assert host.apply({"max": 2}, keep_others=True, python=None)["changed"] is True
        assert host.files() == {name: {**plain, "max": 2} for name in NODES}

    assert {name: node["pid"] for name, node in host.records().items()} == {
        f"{name}@worker1": pid for name, pid in pids.items()
    }
    assert all(worker.poll() is None for worker in host.workers.values())


def test_a_node_that_is_silent_is_named(host: Host, subtests: Any) -> None:
    wanted = {"min": 1, "max": 5}
    os.kill(host.workers["default-2"].pid, signal.SIGSTOP)

    with subtests.test("as an error, and nothing is written"):
        refused = host.apply(wanted)
        assert refused["failed"] is True
        assert (
            f"Nothing was changed. default-2@worker1: runs and has not answered within {TIMEOUT} s"
            in refused["msg"]
        )
        assert FULL[0] not in refused["msg"]
        assert host.files() == dict.fromkeys(NODES, LIMITS)

    with subtests.test("or as a warning: the others change, and its file is there for its next start"):
        # What modules warn of in this process adds up.
        assert "default-2@worker1" not in json.dumps(refused.get("warnings"))
        done = host.apply(wanted, silent="warn")
        assert {name: node["live"] for name, node in done["nodes"].items()} == dict(
            zip(FULL, ("confirmed", "silent"), strict=True)
        )
        assert "default-2@worker1: runs and has not answered" in json.dumps(done["warnings"])
        assert host.files() == dict.fromkeys(NODES, wanted)


def test_what_was_applied_in_part_is_said(host: Host) -> None:
    """A node that answers when it is asked, and hangs when it is told."""
    other = host.workers["default-2"].pid
    host.write_wrappers(f'case "$*" in *--check*) ;; *--set*) kill -STOP {other};; esac')
    failed = host.apply({"min": 1, "max": 5})
    assert failed["failed"] is True
    assert "default-2@worker1: has not answered" in failed["msg"]
    assert "Changed already: default-1@worker1" in failed["msg"]
    os.kill(other, signal.SIGCONT)
    host.until(lambda: host.apply({"min": 1, "max": 5}).get("changed") is False, "run again it is done", 60)


def test_without_a_broker_nothing_is_written(host: Host) -> None:
    host.grove.server.stop()
    failed = host.apply({"min": 1, "max": 5})
    assert failed["failed"] is True
    assert "Redis" in failed["msg"] or "redis" in failed["msg"]
    assert host.files() == dict.fromkeys(NODES, LIMITS)


def test_a_node_without_an_autoscaler_is_named(host: Host) -> None:
    worker = host.workers["default-2"]
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(30)
    host.grove.start("worker", "-n", FULL[1], "-l", "info", "-c", "1", CELERYOPS_NODE="default-2")
    host.until(lambda: "concurrency" in host.records().get(FULL[1], {}), "it runs with a fixed number")
    refused = host.apply({"min": 1, "max": 5})
    assert "default-2@worker1 refuses its limits. this node was started without autoscale" in refused["msg"]
    assert host.files() == dict.fromkeys(NODES, LIMITS)
