"""Real workers under a supervisor that records what they tell it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

WATCHDOG = 3.0  # s


def test_a_worker_from_start_to_end(grove: Any, until: Any) -> None:
    supervisor, environment = grove.supervise(WATCHDOG)
    grove.settings(broker_transport_options={"global_keyprefix": "grove:"})
    worker = grove.worker("-c", "2", **environment)
    assert supervisor.messages("READY=1") == ["READY=1"]

    record = grove.node()
    age = record.pop("age")
    assert 0 <= age < 20
    assert record.pop("started") <= record.pop("heartbeat") <= time.time()
    assert 0 <= record.pop("loop_age") < WATCHDOG
    assert record.pop("rss_bytes") > 2**20
    assert record.pop("celery").startswith("5.")
    assert record.pop("python").startswith("3.")
    assert record == {
        "kind": "worker",
        "node": "default-1@worker1",
        "pool": "default",
        "host": "worker1",
        "pid": worker.pid,
        "release": "1.2.3",
        "fingerprint": "0123456789abcdef",
        "queues": ["elm", "oak"],
        "processes": 2,
        "concurrency": 2,
        "prefetch_count": 2,
        "active": 0,
        "reserved": 0,
        "status": "ready",
    }
    books = grove.books()
    assert 0 < books.client.ttl(books.key("node", "default-1@worker1")) <= 20
    assert sorted(key for key in books.client.scan_iter() if not key.startswith(b"grove:")) == []

    for command in (["celery", "-A", "grove", "fleet", "status"], ["celeryops", "status"]):
        assert "default-1  worker1" in grove.run(*command).stdout
        assert json.loads(grove.run(*command, "--json").stdout)["nodes"][0]["pid"] == worker.pid

    canary = grove.run(
        "celery", "-A", "grove", "fleet", "canary", "--queue", "oak", "--queue", "elm", "--json"
    )
    answer = json.loads(canary.stdout)
    assert answer["ok"] is True
    for result in answer["queues"].values():
        assert result.pop("seconds") < 30
        fingerprint = {"release": "1.2.3", "fingerprint": "0123456789abcdef"}
        assert result == {"ok": True, "node": "default-1@worker1", **fingerprint}

    # A stopped process feeds nobody, and says nothing else either.
    worker.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    stopped = time.monotonic()
    time.sleep(WATCHDOG / 2)
    assert supervisor.messages("", since=stopped) == []
    worker.send_signal(signal.SIGCONT)
    until(lambda: supervisor.messages("WATCHDOG=1", since=stopped), "the watchdog is fed again")

    # A warm shutdown outlives the watchdog's patience as long as a task runs.
    done = grove.folder / "done"
    grove.send("grove.nap", 1.5 * WATCHDOG, str(done))
    until(Path(f"{done}.began").exists, "the task runs")
    began = time.monotonic()
    worker.terminate()
    until(lambda: grove.node()["status"] == "stopping", "the record says that it stops")
    assert worker.wait(60) == 0
    ended = time.monotonic()
    assert ended - began > WATCHDOG
    assert done.exists()
    assert supervisor.longest_silence(began, ended) < WATCHDOG
    assert supervisor.messages("STOPPING=1", since=began)
    assert any(
        "stopping" in text and "1 active" in text for text in supervisor.messages("STATUS=", since=began)
    )
    assert books.read()["nodes"] == []
    assert not books.client.zcard(books.key("nodes"))


def test_redis_may_go_and_come_back(own_grove: Any, until: Any) -> None:
    grove = own_grove
    supervisor, environment = grove.supervise(WATCHDOG)
    grove.worker("-c", "1", **environment)
    began = time.monotonic()
    grove.server.stop()
    until(
        lambda: supervisor.messages("STATUS=reconnecting to Redis since", since=began), "it says what it does"
    )
    time.sleep(WATCHDOG)
    grove.server.start()
    restarted = time.monotonic()
    until(lambda: grove.node().get("status") == "ready", "the node is back", 60)
    until(lambda: supervisor.messages("STATUS=ready", since=restarted), "it says so")
    assert supervisor.longest_silence(began, time.monotonic()) < WATCHDOG
    assert supervisor.messages("READY=1") == ["READY=1"]
    done = grove.folder / "done"
    grove.send("grove.touch", str(done))
    until(done.exists, "it works again")
    assert "the worker carries on without it" not in grove.log()


def test_a_loop_that_waits_for_redis_is_no_stuck_one(own_grove: Any, until: Any) -> None:
    """As in the midst of a heartbeat, where kombu tries again until Redis is back."""
    grove, patience = own_grove, 15.0  # s; more than it may take to see that Redis has gone
    hold, held = grove.folder / "hold", grove.folder / "held"
    (grove.folder / "waiting.py").write_text(
        "from grove import app\n"
        "import pathlib, time\n"
        "from celery import signals\n"
        f"hold, held = pathlib.Path({str(hold)!r}), pathlib.Path({str(held)!r})\n"
        "def wait():\n"
        "    if not hold.exists(): return\n"
        "    held.touch()\n"
        "    while hold.exists(): time.sleep(0.05)\n"
        "    app.connection_for_write().ensure_connection()\n"
        "@signals.worker_ready.connect\n"
        "def begin(sender, **_): sender.timer.call_repeatedly(0.2, wait)\n"
    )
    supervisor, environment = grove.supervise(patience)
    grove.start("worker", "-n", "default-1@worker1", "-c", "1", app="waiting", **environment)
    until(lambda: supervisor.messages("READY=1"), "the worker is ready")
    until(lambda: grove.node().get("status") == "ready", "its record is there")
    hold.touch()
    until(held.exists, "its loop stands still")
    began = time.monotonic()
    grove.server.stop()
    hold.unlink()
    time.sleep(patience + 3)
    assert supervisor.messages("STATUS=reconnecting", since=began) == []
    grove.server.start()
    done = grove.folder / "done"
    until(lambda: grove.node().get("status") == "ready", "the node is back", 60)
    grove.send("grove.touch", str(done))
    until(done.exists, "it works again")
    assert supervisor.longest_silence(began, time.monotonic()) < patience


def test_a_stuck_loop_starves_the_watchdog_and_shows_where(grove: Any, until: Any) -> None:
    (grove.folder / "stuck.py").write_text(
        "from grove import app\n"
        "import time\n"
        "from celery import bootsteps, signals\n"
        "def hang_here(): time.sleep(600)\n"
        "@signals.worker_ready.connect\n"
        "def later(sender, **_): sender.timer.call_after(1.0, hang_here)\n"
    )
    supervisor, environment = grove.supervise(WATCHDOG)
    worker = grove.start("worker", "-n", "default-1@worker1", "-c", "1", app="stuck", **environment)
    until(lambda: supervisor.messages("READY=1"), "the worker is ready")
    until(lambda: grove.node().get("loop_age", 0) > WATCHDOG, "the record shows the stuck loop")
    seen = time.monotonic()
    until(lambda: supervisor.messages("STATUS=", since=seen), "it still says what it does")
    assert supervisor.messages("WATCHDOG=1", since=time.monotonic() - WATCHDOG) == []
    worker.send_signal(signal.SIGABRT)
    assert worker.wait(60) == -signal.SIGABRT
    until(lambda: "in hang_here" in grove.log(), "the log shows where it hung")


def test_a_task_and_its_children_hear_nothing_of_the_supervisor(grove: Any, until: Any) -> None:
    out = grove.folder / "environment"
    (grove.folder / "nosy.py").write_text(
        "from grove import app\n"
        "import subprocess\n"
        "@app.task(name='nosy')\n"
        "def nosy(path): subprocess.run(f'env > {path}.new && mv {path}.new {path}', shell=True)\n"
    )
    _, environment = grove.supervise(WATCHDOG)
    grove.start("worker", "-n", "default-1@worker1", "-c", "1", "-P", "solo", app="nosy", **environment)
    grove.send("nosy", str(out))
    until(out.exists, "the task ran")
    assert "CELERYOPS_FINGERPRINT" in out.read_text()
    assert "NOTIFY_SOCKET" not in out.read_text() and "WATCHDOG_USEC" not in out.read_text()


def test_threads_survive_a_reconnect_with_a_task_running(own_grove: Any, until: Any) -> None:
    grove = own_grove
    supervisor, environment = grove.supervise(WATCHDOG)
    worker = grove.worker("-c", "2", "-P", "threads", **environment)
    done = grove.folder / "done"
    grove.send("grove.nap", 4, str(done))
    until(Path(f"{done}.began").exists, "the task runs")
    began = time.monotonic()
    grove.books().client.client_kill_filter(_type="normal")
    until(done.exists, "the task ended")
    assert worker.poll() is None
    until(lambda: grove.node()["status"] == "ready", "the node is ready")
    assert supervisor.longest_silence(began, time.monotonic()) < WATCHDOG


def test_a_fault_of_the_runtime_leaves_the_worker_alone(grove: Any, until: Any) -> None:
    (grove.folder / "sitecustomize.py").write_text(
        "import celeryops.member\n"
        "def broken(*a, **k): raise RuntimeError('a fault of the runtime')\n"
        "celeryops.member.Member.__init__ = broken\n"
    )
    path = f"{grove.environment['PYTHONPATH']}{os.pathsep}{grove.folder}"
    worker = grove.worker("-c", "1", ready=False, PYTHONPATH=path)
    done = grove.folder / "done"
    grove.send("grove.touch", str(done))
    until(done.exists, "the worker works")
    assert grove.log().count("RuntimeError: a fault of the runtime") == 1
    worker.terminate()
    assert worker.wait(60) == 0


def test_unreadable_settings_refuse_to_start(grove: Any) -> None:
    grove.environment["CELERYOPS_SETTINGS"] = str(grove.folder / "absent.json")
    worker = grove.worker("-c", "1", ready=False)
    assert worker.wait(60) != 0
    assert "absent.json" in grove.log()


def test_a_canary_nobody_answers(grove: Any) -> None:
    command = [
        "celery",
        "-A",
        "grove",
        "fleet",
        "canary",
        "-Q",
        "oak",
        "-Q",
        "ash",
        "--timeout",
        "1",
        "--json",
    ]
    result: subprocess.CompletedProcess[str] = grove.run(*command, check=False)
    assert result.returncode == 1
    queues = json.loads(result.stdout)["queues"]
    assert "no living node consumes the queue oak" in queues["oak"]["error"]
    assert "cannot be sent" in queues["ash"]["error"]


def test_a_task_goes_where_the_inventory_says(grove: Any, until: Any) -> None:
    """Sent by a process of the fleet, and by one that only loads the file of routes."""
    path = grove.folder / "settings.json"
    path.write_text(json.dumps({"routes": [{"task": "grove.t*", "queue": "elm"}]}))
    grove.environment["CELERYOPS_SETTINGS"] = str(path)
    (grove.folder / "routes.json").write_text('{"grove.t*": {"queue": "elm"}}')
    (grove.folder / "front.py").write_text(
        "import grove, json\n"
        "grove.app.conf.task_routes = json.load(open('routes.json'))\n"
        "grove.touch.delay('sent by another')\n"
    )
    grove.worker("-Q", "elm", "-c", "1")
    grove.run("celery", "-A", "grove", "call", "grove.touch", '--args=["sent by a member"]')
    grove.run("front", CELERY_LOADER="celery.loaders.app:AppLoader")
    for name in ("sent by a member", "sent by another"):
        until((grove.folder / name).exists, f"the queue elm brings the task {name}")
