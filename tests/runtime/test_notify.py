from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import pytest
from celeryops.notify import Notifier


def listener(address: str) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.settimeout(5)
    return receiver


def test_messages_and_environment(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    with listener(path) as receiver:
        notifier = Notifier.from_env(env)
        assert env == {"HOME": "/"}
        assert notifier.watchdog == 3.0
        notifier.ready()
        notifier.feed()
        notifier.status("two\nlines")
        notifier.stopping()
        heard = [receiver.recv(100).decode() for _ in range(4)]
    assert heard == ["READY=1", "WATCHDOG=1", "STATUS=two lines", "STOPPING=1"]


@pytest.mark.skipif(not os.path.exists("/proc"), reason="the abstract namespace is Linux' own")
def test_abstract_socket() -> None:
    name = f"celeryops-{uuid.uuid4().hex}"
    with listener("\0" + name) as receiver:
        Notifier("@" + name).ready()
        assert receiver.recv(100) == b"READY=1"


def test_a_forked_child_is_silent(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listener(path) as receiver:
        notifier = Notifier(path, 3.0)
        child = os.fork()
        if child == 0:
            notifier.feed()
            os._exit(0)
        os.waitpid(child, 0)
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(100)


@pytest.mark.parametrize(
    "env",
    [{}, {"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "/nonexistent/socket", "WATCHDOG_USEC": "x"}],
)
def test_nobody_listens(env: dict[str, str]) -> None:
    notifier = Notifier.from_env(env)
    notifier.ready()
    notifier.feed()


def test_the_watchdog_of_another_process() -> None:
    assert Notifier.from_env({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog == 0.0
