"""Ten entries at one second and a crontab. No worker consumes their queue: who counts reads it."""

from celery import Celery
from celery.schedules import crontab

app = Celery("tally")


def entry(name, schedule):
    return {"task": "tally.tick", "schedule": schedule, "args": [name], "options": {"queue": "count"}}


app.conf.beat_schedule = {
    **{f"every-{number}": entry(f"every-{number}", 1.0) for number in range(10)},
    "crontab": entry("crontab", crontab()),
}


@app.task(name="tally.tick", ignore_result=True)
def tick(name):
    """Never runs."""
