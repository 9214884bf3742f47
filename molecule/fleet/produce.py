"""Run in the fleet's environment: sends tasks until it is told to stop, then tells what became of each.

    produce.py FOLDER      leaves FOLDER/began when a task runs; ends when FOLDER/stop exists, and leaves
                           FOLDER/report.json

{"sent": 80, "lost": [no result], "again": [began more than once], "nodes": {"ml": [who ran them], ...}}
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import django

django.setup()

from celery.exceptions import TimeoutError as NoResultError  # noqa: E402
from orders.models import Event  # noqa: E402
from orders.tasks import pack  # noqa: E402
from shop.celery import app  # noqa: E402

SECONDS_FOR_ALL = 240

app.set_default()
folder = Path(sys.argv[1])
sent = {}


def send(queue, seconds):
    result = pack.apply_async([f"order {len(sent)}", seconds], queue=queue)
    sent[result.id] = (queue, result)


# Some wait in the queue that moves, and some run, whatever the moment.
for _ in range(8):
    send("ml", 3)
while not Event.objects.filter(kind="task_prerun", subject__in=sent).exists():
    time.sleep(0.2)
Path(folder, "began").touch()
while not Path(folder, "stop").exists():
    send("ml", 1)
    send("celery", 1)
    time.sleep(1.2)

until = time.monotonic() + SECONDS_FOR_ALL
lost = []
for identifier, (queue, result) in sent.items():
    try:
        result.get(timeout=max(0.1, until - time.monotonic()), interval=0.2)
    except NoResultError:
        lost.append([queue, identifier])

begun = list(Event.objects.filter(kind="task_prerun", subject__in=sent).values_list("subject", "node"))
nodes = {
    queue: sorted({node for task, node in begun if sent[task][0] == queue}) for queue in ("ml", "celery")
}
again = [task for task, times in Counter(task for task, _ in begun).items() if times > 1]
report = {"sent": len(sent), "lost": lost, "again": again, "nodes": nodes}
Path(folder, "report.tmp").write_text(json.dumps(report))
Path(folder, "report.tmp").rename(Path(folder, "report.json"))
