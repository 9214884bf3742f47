from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process

RUN = "/run/celery/shop"
WORKER = ("/opt/venv/bin/python", "-m", "celery", "-A", "shop", "worker", "-n", "n-1@host")


def process(pid: int, ppid: int = 1, node: str = "n-1", interrupt: bool = True, **more: str) -> Process:
    environ = {"CELERYOPS_FLEET": "shop", "CELERYOPS_NODE": node, "CELERYOPS_RUN_DIR": RUN, **more}
    return Process(pid, ppid, pid * 100, WORKER, environ, interrupt)


def mains(*found: Process) -> list[int]:
    return [one.pid for one in processes.mains({one.pid: one for one in found}, "shop", RUN)]


def test_pool_children_and_what_tasks_start_are_no_nodes() -> None:
    assert mains(process(10), process(11, 10, interrupt=False), process(12, 11)) == [10]


def test_a_child_whose_main_process_was_killed_is_no_node() -> None:
    assert mains(process(11, 1, interrupt=False)) == []


def test_every_node_has_its_own_main_process() -> None:
    assert mains(process(10), process(20, node="n-2"), process(30, 20, node="n-3")) == [10, 20, 30]


def test_another_fleet_another_prefix_and_tools_of_the_fleet_are_no_nodes() -> None:
    assert mains(process(10, CELERYOPS_FLEET="other")) == []
    assert mains(process(10, CELERYOPS_RUN_DIR="/home/me/.local/run")) == []
    assert mains(process(10, node="")) == []


@pytest.mark.parametrize(
    "cmdline, is_main",
    [
        (WORKER, True),
        (("[celeryd: n-1@host:MainProcess] -active- (worker -n n-1@host)",), True),
        (("python", "celery", "-A", "shop", "beat"), True),
        (("/opt/flower/bin/celery", "flower"), True),
        (
            ("python", "-m", "celery", "-A", "shop", "multi", "start", "n-1@host", "--pidfile=worker.pid"),
            False,
        ),
        (("/bin/sh", "/opt/celery/shop/bin/celery-multi", "start"), False),
    ],
)
def test_what_only_launches_a_node_is_none(cmdline: tuple[str, ...], is_main: bool) -> None:
    one = process(10)
    assert mains(Process(10, 1, 5, cmdline, one.environ, True)) == ([10] if is_main else [])


@pytest.mark.parametrize(
    "environ, cmdline, is_node",
    [
        pytest.param({"CELERYOPS_FLEET": "shop", "CELERYOPS_NODE": "n-1"}, ("x",), True, id="says so itself"),
        pytest.param({"CELERYOPS_FLEET": "shop", "CELERYOPS_NODE": "n-2"}, WORKER, False, id="another node"),
        pytest.param({"CELERYOPS_FLEET": "zoo", "CELERYOPS_NODE": "n-1"}, WORKER, False, id="another fleet"),
        pytest.param({}, WORKER, True, id="started by hand under our name"),
        pytest.param({}, ("celery", "worker", "--pidfile=/run/n-1.pid"), True, id="with our pidfile"),
        pytest.param({}, ("celery", "worker", "-n", "else@host"), False, id="someone else's worker"),
        pytest.param({}, ("vim", "/run/n-1.pid"), False, id="no Celery"),
        pytest.param(None, ("nginx",), False, id="unreadable stranger"),
    ],
)
def test_whether_a_pid_is_a_node(
    environ: dict[str, str] | None, cmdline: tuple[str, ...], is_node: bool
) -> None:
    one = Process(10, 1, 5, cmdline, environ)
    assert processes.is_node(one, "shop", "n-1", ("/run/n-1.pid", "n-1@host")) is is_node


def test_an_empty_mark_matches_nothing() -> None:
    assert not processes.is_node(Process(10, 1, 5, ("celery", "worker"), {}), "shop", "n-1", ("", ""))


def test_a_command_name_with_brackets_and_spaces() -> None:
    fields = ["S", "7", *["0"] * 17, "4242", "0"]
    assert processes.parse_stat(f"99 (a ) b (c) {' '.join(fields)}") == ("S", 7, 4242)


@pytest.mark.parametrize(
    "mask, caught", [("0000000000000002", True), ("0000000000004001", False), ("2", True)]
)
def test_whether_an_interrupt_is_caught(mask: str, caught: bool) -> None:
    assert processes.catches_interrupt(f"Name:\tx\nSigIgn:\t2\nSigCgt:\t{mask}\n") is caught


def test_environments_may_hold_anything() -> None:
    data = b"A=1\0B=x=y\0junk\0C=\xff\0D=\0"
    assert processes.parse_environ(data) == {"A": "1", "B": "x=y", "C": "\ufffd", "D": ""}


@pytest.mark.parametrize("text, pid", [("12\n", 12), ("", 0), ("x\n", 0), ("-3\n", 0), ("1 2\n", 0)])
def test_pidfiles(tmp_path: object, text: str, pid: int) -> None:
    path = f"{tmp_path}/a.pid"
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)
    assert processes.read_pidfile(path) == pid
    assert processes.read_pidfile(f"{path}.none") == 0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    one = subprocess.Popen(["sleep", "60"], env={"CELERYOPS_FLEET": "shop", "PATH": os.environ["PATH"]})
    yield one
    one.kill()
    one.wait()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_living_process_is_read(child: subprocess.Popen[bytes]) -> None:
    one = processes.read(child.pid)
    assert one is not None
    assert one.ppid == os.getpid() and one.cmdline == ("sleep", "60") and one.get("CELERYOPS_FLEET") == "shop"
    assert processes.still_there(one)
    assert not processes.still_there(Process(one.pid, one.ppid, one.started - 1)), "its pid was used again"


@linux
def test_a_zombie_is_gone(child: subprocess.Popen[bytes]) -> None:
    one = processes.read(child.pid)
    assert one is not None
    processes.terminate(one)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.read(child.pid) is None and not processes.still_there(one)
    processes.terminate(one)


@linux
def test_a_recycled_pid_is_not_signalled(child: subprocess.Popen[bytes]) -> None:
    one = processes.read(child.pid)
    assert one is not None
    processes.terminate(Process(one.pid, one.ppid, one.started - 1))
    assert child.poll() is None


def test_without_proc_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", "/nowhere")
    with pytest.raises(processes.ProcessError, match="Linux only"):
        processes.require_proc()
