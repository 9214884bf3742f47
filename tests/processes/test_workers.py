"""celery_nodes with real workers started by `celery multi`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes

from tests.support.waiting import until

from .conftest import A, B, Fleet


def test_from_a_bare_host_to_two_nodes_and_no_further(fleet: Fleet) -> None:
    one, two = fleet.node("fruit-1", A), fleet.node("fruit-2", B)
    predicted = fleet.converge(one, two, check=True)
    assert predicted["changed"] and predicted["started"] == ["fruit-1", "fruit-2"]
    assert not fleet.everyone()

    done = fleet.converge(one, two)
    assert done["failures"] == []
    assert done["started"] == ["fruit-1", "fruit-2"] and done["changed"]
    assert predicted["diff"] == done["diff"]
    assert [node["fingerprint"] for node in done["nodes"]] == [A, B]
    pids = [node["pid"] for node in done["nodes"]]
    assert pids == [fleet.pid("fruit-1"), fleet.pid("fruit-2")]

    again = fleet.converge(one, two)
    assert not again["changed"] and again["failures"] == []
    assert [node["pid"] for node in again["nodes"]] == pids
    assert again["diff"]["before"] == again["diff"]["after"]


def test_one_new_fingerprint_restarts_that_node_alone(running: Fleet) -> None:
    running.converge(running.node("fruit-1", A), running.node("fruit-2", A))
    first, second = running.pid("fruit-1"), running.pid("fruit-2")
    wanted = running.node("fruit-1", A), running.node("fruit-2", B)

    predicted = running.converge(*wanted, check=True)
    assert predicted["restarted"] == ["fruit-2"] and running.pid("fruit-2") == second

    done = running.converge(*wanted)
    assert done["restarted"] == ["fruit-2"] and done["started"] == [] and done["failures"] == []
    assert running.pid("fruit-1") == first
    assert running.pid("fruit-2") != second
    assert done["diff"]["before"]["fruit-2"] == A and done["diff"]["after"]["fruit-2"] == B


def test_a_node_which_leaves_finishes_its_task_and_leaves_nothing(running: Fleet) -> None:
    state = running.root / "fruit-1.state.db"
    state.touch()
    other = running.root / "fruit-10.state.db"
    other.touch()
    running.nap(3)
    done = running.converge(leftovers=(f"{running.root}/%n.state*",))
    assert done["failures"] == []
    assert done["removed"] == ["fruit-1"] and done["stopped"] == ["fruit-1"]
    assert running.count("ended") == 1
    assert not running.everyone()
    assert list((running.root / "run").iterdir()) == [] and list((running.root / "etc/nodes").iterdir()) == []
    assert not state.exists() and other.exists()
    assert (running.root / "log/fruit-1.log").exists(), "the log is history and stays"
    assert not running.converge(leftovers=(f"{running.root}/%n.state*",))["changed"]


def test_a_node_that_will_not_stop_in_time_is_named_and_loses_nothing(running: Fleet) -> None:
    pid = running.pid("fruit-1")
    running.nap(600)
    done = running.converge(running.node("fruit-1", B, stop_timeout=1))
    (failure,) = done["failures"]
    assert "fruit-1" in failure and str(pid) in failure and "still runs 1 task." in failure
    assert processes.read(pid) is not None

    running.wake()
    done = running.converge(running.node("fruit-1", B, stop_timeout=60))
    assert done["failures"] == [] and done["restarted"] == ["fruit-1"]
    assert running.count("ended") == 1


def test_a_stopping_node_is_asked_only_once(running: Fleet) -> None:
    """A second TERM would cancel running tasks where REMAP_SIGTERM is set."""
    pid = running.pid("fruit-1")
    running.nap(600)
    for _ in range(3):
        running.converge(running.node("fruit-1", B, stop_timeout=0))
    running.wake()
    until(lambda: processes.read(pid) is None, "the process has ended")
    assert running.count("asked") == 1
    assert running.count("ended") == 1


def test_a_stale_pidfile_is_no_obstacle(running: Fleet) -> None:
    one = running.node("fruit-1", A)
    pid = running.pid("fruit-1")
    running.kill()
    assert running.pid("fruit-1") == pid
    done = running.converge(one)
    assert done["failures"] == [] and done["started"] == ["fruit-1"]
    assert running.pid("fruit-1") != pid


def test_a_recycled_pid_is_not_ours_to_stop(fleet: Fleet) -> None:
    """celery multi takes any living pid for its node and refuses to start (rc 73, for ever)."""
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (fleet.root / "run/fruit-1.pid").write_text(f"{stranger.pid}\n")
        done = fleet.converge(fleet.node("fruit-1", A))
        assert done["failures"] == [] and done["started"] == ["fruit-1"]
        assert stranger.poll() is None
        assert fleet.pid("fruit-1") != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_a_recycled_pid_of_another_node_is_not_this_node(running: Fleet) -> None:
    one = running.node("fruit-1", A)
    pid = running.pid("fruit-1")
    (running.root / "run/fruit-2.pid").write_text(f"{pid}\n")
    done = running.converge(one, running.node("fruit-2", A))
    assert done["failures"] == [] and done["started"] == ["fruit-2"]
    assert running.pid("fruit-1") == pid != running.pid("fruit-2")


def test_a_lost_pidfile_is_written_again(running: Fleet) -> None:
    one = running.node("fruit-1", A)
    pid = running.pid("fruit-1")
    (running.root / "run/fruit-1.pid").unlink()
    assert running.converge(one, check=True)["adopted"] == ["fruit-1"]
    done = running.converge(one)
    assert done["failures"] == [] and done["adopted"] == ["fruit-1"] and done["started"] == []
    assert running.pid("fruit-1") == pid
    assert not running.converge(one)["changed"]


def test_a_duplicate_is_stopped(running: Fleet) -> None:
    one = running.node("fruit-1", A)
    (running.root / "run/fruit-1.pid").rename(running.root / "first.pid")
    subprocess.run(
        [f"{running.root}/opt/bin/celery-multi", "start", "fruit-1"], check=True, capture_output=True
    )
    until(lambda: running.pid("fruit-1"), "it has written its pidfile")
    done = running.converge(one)
    assert done["failures"] == [] and done["restarted"] == ["fruit-1"]
    assert len(_mains(running)) == 1


def test_a_worker_of_an_older_layout_is_replaced(fleet: Fleet) -> None:
    """Our pidfile, but started without any of the fleet's environment."""
    command = [f"{os.path.dirname(sys.executable)}/celery", "-A", "orchard", "worker", "-c", "1"]
    command += ["-l", "INFO", "-n", "fruit-1@host", f"--pidfile={fleet.root}/run/fruit-1.pid"]
    environment = {"CELERY_BROKER_URL": fleet.url, "PATH": os.environ["PATH"]}
    log = fleet.root / "log/by-hand"
    with log.open("wb") as output:
        old = subprocess.Popen(command, cwd=fleet.root / "app", env=environment, stderr=output)
    reaper = threading.Thread(target=old.wait)
    reaper.start()
    until(lambda: " ready." in log.read_text(), "it is ready")
    done = fleet.converge(fleet.node("fruit-1", A))
    assert done["failures"] == [] and done["restarted"] == ["fruit-1"]
    assert "no fingerprint" in done["reasons"]["fruit-1"]
    reaper.join(60)
    assert old.returncode == 0


def test_a_fleet_of_the_same_name_under_another_prefix_is_left_alone(running: Fleet, tmp_path: Path) -> None:
    pid = running.pid("fruit-1")
    elsewhere = {name: str(tmp_path / "other" / name) for name in ("etc_dir", "run_dir", "log_dir")}
    assert not running.converge(**elsewhere)["changed"]
    assert processes.read(pid) is not None


def test_without_the_wrapper_nothing_is_stopped(running: Fleet) -> None:
    pid = running.pid("fruit-1")
    (running.root / "opt/bin/celery-multi").unlink()
    done = running.converge(running.node("fruit-1", B))
    assert "celery-multi is not there" in done["failures"][0] and not done["changed"]
    assert processes.read(pid) is not None
    assert running.converge(running.node("fruit-1", A))["failures"] == []


def test_a_broken_application_is_reported_with_its_traceback(fleet: Fleet) -> None:
    one = fleet.node("fruit-1", A)
    (fleet.root / "app/orchard.py").write_text("import nowhere_to_be_found\n")
    done = fleet.converge(replace(one, start_timeout=600))
    (failure,) = done["failures"]
    assert "fruit-1@host is not ready" in failure
    assert "nowhere_to_be_found" in failure
    assert "600 s" not in failure, "a dead process is not waited for"
    assert done["started"] == []


def test_a_worker_that_dies_after_its_start_is_reported_with_its_log(fleet: Fleet) -> None:
    application = fleet.root / "app/orchard.py"
    application.write_text(application.read_text().replace("time.sleep(float", "raise SystemExit(float"))
    fleet.environment(HESITATE="7")
    (failure,) = fleet.converge(fleet.node("fruit-1", A))["failures"]
    assert "its process has ended" in failure


def test_a_node_that_is_never_ready_is_reported_after_its_time(fleet: Fleet) -> None:
    fleet.environment(HESITATE="600")
    one = fleet.node("fruit-1", A)
    (failure,) = fleet.converge(replace(one, start_timeout=4))["failures"]
    assert "not ready after 4 s" in failure
    # It runs and carries the right fingerprint, yet a second run is not content with that.
    (failure,) = fleet.converge(replace(one, start_timeout=2))["failures"]
    assert "not ready after 2 s" in failure


def test_redis_down_is_named_as_the_reason(fleet: Fleet) -> None:
    fleet.environment(CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    (failure,) = fleet.converge(replace(fleet.node("fruit-1", A), start_timeout=20))["failures"]
    assert "records cannot be read" in failure or "127.0.0.1:1" in failure


def test_an_environment_file_that_was_not_rendered_first(fleet: Fleet) -> None:
    wanted = fleet.node("fruit-1", B)
    fleet.node("fruit-1", A)
    (failure,) = fleet.converge(wanted)["failures"]
    assert f"carries {A} where {B} is wanted" in failure


def test_orphaned_children_of_a_killed_node_are_not_taken_for_it(running: Fleet) -> None:
    one = running.node("fruit-1", A)
    running.nap(8)
    pid = running.pid("fruit-1")
    os.kill(pid, signal.SIGKILL)
    until(lambda: processes.read(pid) is None, "the process has ended")
    (running.root / "run/fruit-1.pid").unlink()
    predicted = running.converge(one, check=True)
    assert predicted["started"] == ["fruit-1"]


def test_nodes_start_in_parallel(fleet: Fleet) -> None:
    fleet.environment(GATHER="2")
    done = fleet.converge(*(fleet.node(f"fruit-{number}", A) for number in (1, 2)))
    assert done["failures"] == []


def _mains(fleet: Fleet) -> list[processes.Process]:
    everything = processes.read_many(processes.all_pids())
    return processes.mains(everything, "orchard", fleet.layout.run_dir)


@pytest.fixture(autouse=True)
def _no_zombies() -> Any:
    """Orphans of a killed daemon are reaped by init; give it a moment between tests."""
    yield
    time.sleep(0.1)
