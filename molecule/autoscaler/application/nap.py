"""A task that takes a while."""

from __future__ import annotations

import time

from celery import Celery

app = Celery("nap")


@app.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"
