"""Tasks that keep book: a line when one begins, and one when it ends."""

import os
import time

import redis
from celery import Celery

app = Celery("ledger")
books = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])


def _write(name, seconds):
    books.rpush("ledger:began", name)
    time.sleep(seconds)
    # A test says when a task ends that must outlast something.
    while books.exists("ledger:hold"):
        time.sleep(0.1)
    books.rpush("ledger:ended", name)


@app.task
def late(name, seconds):
    """Acknowledged when it has ended, as the fleet's default is."""
    _write(name, seconds)


@app.task(acks_late=False)
def early(name, seconds):
    """Acknowledged when it begins."""
    _write(name, seconds)
