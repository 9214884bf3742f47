from __future__ import annotations

import time
from typing import Any

WATCHDOG = 3.0  # s


def test_beat_is_a_member(grove: Any, until: Any) -> None:
    supervisor, environment = grove.supervise(WATCHDOG)
    beat = grove.start(
        "beat", "-s", str(grove.folder / "schedule"), CELERYOPS_NODE="beat", CELERYOPS_POOL="", **environment
    )
    until(lambda: supervisor.messages("READY=1"), "beat is ready")
    began = time.monotonic()
    (record,) = until(lambda: grove.books().read()["beats"], "beat's record")
    assert record["node"] == "beat@worker1"
    assert record["kind"] == "beat"
    assert record["pid"] == beat.pid
    assert record["status"] == "ready"
    assert record["scheduler"] == "celery.beat:PersistentScheduler"
    assert record["fingerprint"] == "0123456789abcdef"
    assert (
        "PersistentScheduler"
        in grove.run(
            "celeryops",
            "status",
            CELERYOPS_SETTINGS=grove.settings(broker_transport_options={"global_keyprefix": "grove:"}),
        ).stdout
    )
    until(lambda: grove.books().client.llen("grove:oak") > 1, "beat sends")
    time.sleep(1)
    assert supervisor.longest_silence(began, time.monotonic()) < WATCHDOG
    beat.terminate()
    assert beat.wait(60) == 0
    assert supervisor.messages("STOPPING=1")
    assert grove.books().read()["beats"] == []


def test_a_beat_inside_a_worker_is_told_apart(grove: Any, until: Any) -> None:
    grove.worker("-c", "1", "-B", "-s", str(grove.folder / "schedule"))
    (record,) = until(lambda: grove.books().read()["beats"], "beat's record")
    assert record["node"] == "beat-in-default-1@worker1"
    assert grove.node()["node"] == "default-1@worker1"
