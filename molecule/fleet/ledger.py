"""Run in the fleet's environment: sends tasks that wait in their queues, and later tells what became of them.

ledger.py send FILE     writes who was sent into the file
ledger.py count FILE    prints {"sent": 17, "lost": [no result], "again": [began twice]}
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import django

django.setup()

from celery import chord  # noqa: E402
from celery.exceptions import TimeoutError as NoResultError  # noqa: E402
from orders.models import Event  # noqa: E402
from orders.tasks import pack, receipt  # noqa: E402
from shop.celery import app  # noqa: E402

SECONDS_FOR_ALL = 120

app.set_default()


def send():
    waiting = [pack.apply_async([f"order {number}", 0.1], queue="ml") for number in range(8)]
    running = [pack.apply_async([f"order {number}", 5], queue="celery") for number in range(4)]
    # Its parts are counted in the result backend, and the last one sends the body.
    body = chord(
        (pack.s(f"part {number}", 0.1).set(queue="ml") for number in range(4)), receipt.si("B-3")
    ).delay()
    return [one.id for one in [*waiting, *running, *body.parent, body]]


def count(sent):
    until = time.monotonic() + SECONDS_FOR_ALL
    lost = []
    for identifier in sent:
        try:
            app.AsyncResult(identifier).get(timeout=max(0.1, until - time.monotonic()), interval=0.2)
        except NoResultError:
            lost.append(identifier)
    begun = Counter(
        Event.objects.filter(kind="task_prerun", subject__in=sent).values_list("subject", flat=True)
    )
    return {"sent": len(sent), "lost": lost, "again": [task for task, times in begun.items() if times != 1]}


what, file = sys.argv[1], Path(sys.argv[2])
if what == "send":
    file.write_text(json.dumps(send()))
else:
    print(json.dumps(count(json.loads(file.read_text()))))
