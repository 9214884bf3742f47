"""A task that lasts into the next deploy, and a schedule."""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery("nap")
app.conf.beat_schedule = {"tick": {"task": "nap.tick", "schedule": 2.0, "options": {"expires": 2}}}

# What a deploy writes before it asks the nodes of this host to stop, for either manager.
WRITTEN = (
    "/etc/celery/nap/celeryd",
    "/etc/celery/nap/nodes/default-1.env",
    "/etc/systemd/system/celery-nap-worker@default-1.service",
)


def written() -> list[int]:
    return [os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in WRITTEN]


@app.task
def tick() -> None:
    pass


@app.task
def nap(until: float) -> str:
    """Last until the host's nodes are to be replaced, or the time has come, and a little longer."""
    before = written()
    while written() == before and time.time() < until:
        time.sleep(0.1)
    time.sleep(2)
    return "rested"
