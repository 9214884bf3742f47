"""What the candidates schedule: entries at one second, a crontab; and what a measurement needs from inside.

BENCH_ENTRIES   how many entries beside the crontab
BENCH_PERIOD    s between two slots of each
BENCH_OVERDUE   s ago that they ran last, besides
BENCH_LOCK      s, RedBeat's lock
BENCH_STOP      a file: once it is there, the next publish waits just before its bytes are sent, for so many s
                as the file says; if it is empty, the whole process stands still
BENCH_STAMPS    a file that is to hold the times between publishes as JSON, in s, once there are BENCH_ENOUGH
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import redis.connection
from celery import Celery, signals
from celery.schedules import crontab

PREFIX = "bench:"  # global_keyprefix, from the settings of the fleet
QUEUE = "bench"
MARK = b"celery_beat_task"  # header that celery beat gives to every message, and nobody else


def number(name: str, otherwise: float) -> float:
    return float(os.environ.get(f"BENCH_{name}") or otherwise)


entries = int(number("ENTRIES", 10))
period = number("PERIOD", 1)
# Their slots lie apart, so that at any time one is due soon: a failover is measured, not the wait for a slot.
begin = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=number("OVERDUE", 0))

stop = os.environ.get("BENCH_STOP", "")
stamps = os.environ.get("BENCH_STAMPS", "")

if stop:
    _send = redis.connection.AbstractConnection.send_packed_command

    def _send_or_stop(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        chunks = command if isinstance(command, (list, tuple)) else [command]
        if any(MARK in chunk for chunk in chunks if isinstance(chunk, bytes)) and os.path.exists(stop):
            seconds = Path(stop).read_text()
            os.unlink(stop)
            if seconds:
                time.sleep(float(seconds))
            else:
                os.kill(os.getpid(), signal.SIGSTOP)
        return _send(self, command, *args, **kwargs)

    redis.connection.AbstractConnection.send_packed_command = _send_or_stop  # type: ignore[method-assign]

if stamps:
    _times: list[float] = []

    @signals.after_task_publish.connect
    def _stamp(**_: Any) -> None:
        _times.append(time.perf_counter())
        if len(_times) == number("ENOUGH", 1000):
            fresh = Path(f"{stamps}.new")
            between = [later - sooner for sooner, later in itertools.pairwise(_times)]
            fresh.write_text(json.dumps(between))
            fresh.rename(stamps)


app = Celery("bench")
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    redbeat_redis_url=os.environ.get("CELERY_BROKER_URL"),
    redbeat_lock_timeout=number("LOCK", 0),
    beat_schedule={
        **{
            f"every-{one}": {
                "task": "bench.tick",
                "schedule": period,
                "args": [f"every-{one}"],
                "last_run_at": begin + timedelta(seconds=one * period / entries),
            }
            for one in range(entries)
        },
        "crontab": {"task": "bench.tick", "schedule": crontab(), "args": ["crontab"]},
    },
)


@app.task(name="bench.tick")
def tick(entry: str) -> None:
    """Nobody runs it: the harness reads the messages."""
