"""Run in the fleet's environment: which nodes run the tasks of each queue, of a route and of a chord."""

import json
from pathlib import Path

import django

django.setup()

from celery import chord  # noqa: E402
from orders import tasks  # noqa: E402
from orders.models import Event  # noqa: E402
from shop.celery import app  # noqa: E402

TIMEOUT = 60
app.set_default()

located = {queue: tasks.locate.apply_async(queue=queue) for queue in ("celery", "urgent", "ml")}
routed = tasks.charge_card.delay("B-1", succeed_at=1)
# More seconds of work than any two hosts can take on at once.
slow = chord((tasks.pack.s(number, 1) for number in range(16)), tasks.receipt.si("B-2")).apply_async()

ran = {queue: sent.get(timeout=TIMEOUT)["node"] for queue, sent in located.items()}
routed.get(timeout=TIMEOUT)
slow.get(timeout=TIMEOUT)


def nodes(*ids):
    return Event.objects.filter(kind="task_success", subject__in=ids).values_list("node", flat=True)


print(
    json.dumps(
        {
            "ran": ran,
            "routed": nodes(routed.id)[0],
            "chord_hosts": sorted({node.split("@")[1] for node in nodes(*(one.id for one in slow.parent))}),
            "steps": Path("/srv/shop/steps").read_text().split("\n")[:-1],
        }
    )
)
