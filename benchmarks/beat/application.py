"""What the candidates schedule: entries at one second and a crontab; and what some faults need from inside.

BENCH_ENTRIES   how many entries of one second
BENCH_LOCK      s, RedBeat's lock
BENCH_STOP      a file: once it is there, the next publish stops the process just before its bytes are sent
"""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta, timezone
from typing import Any

import redis.connection
from celery import Celery
from celery.schedules import crontab

PREFIX = "bench:"  # global_keyprefix, from the settings of the fleet
QUEUE = "bench"
MARK = b"celery_beat_task"  # header that celery beat gives to every message, and nobody else

entries = int(os.environ.get("BENCH_ENTRIES") or 10)
# Their slots lie apart, so that at any time one is due soon: a failover is measured, not the wait for a slot.
begin = datetime.now(timezone.utc).replace(microsecond=0)

if stop := os.environ.get("BENCH_STOP"):
    _send = redis.connection.AbstractConnection.send_packed_command

    def _send_or_stop(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        chunks = command if isinstance(command, (list, tuple)) else [command]
        if any(MARK in chunk for chunk in chunks if isinstance(chunk, bytes)) and os.path.exists(stop):
            os.unlink(stop)
            os.kill(os.getpid(), signal.SIGSTOP)
        return _send(self, command, *args, **kwargs)

    redis.connection.AbstractConnection.send_packed_command = _send_or_stop  # type: ignore[method-assign]

app = Celery("bench")
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    redbeat_redis_url=os.environ.get("CELERY_BROKER_URL"),
    redbeat_lock_timeout=float(os.environ.get("BENCH_LOCK") or 0),
    beat_schedule={
        **{
            f"every-{number}": {
                "task": "bench.tick",
                "schedule": 1.0,
                "args": [f"every-{number}"],
                "last_run_at": begin + timedelta(seconds=number / entries),
            }
            for number in range(entries)
        },
        "crontab": {"task": "bench.tick", "schedule": crontab(), "args": ["crontab"]},
    },
)


@app.task(name="bench.tick")
def tick(entry: str) -> None:
    """Nobody runs it: the harness reads the messages."""
