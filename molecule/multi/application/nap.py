"""One task that takes its time, and a schedule."""

from __future__ import annotations

import time

from celery import Celery

app = Celery("nap")
app.conf.beat_schedule = {"nap": {"task": "nap.nap", "schedule": 2.0, "args": [0], "options": {"expires": 2}}}


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
