"""The shop's tasks, one of each kind."""

import os
import resource
import sys
import time
from collections import Counter
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from .models import Event
from .recommender import model


class PaymentDeclinedError(Exception):
    """The bank said no, this time."""


@shared_task
def price(quantity, unit_cents):
    """Quick."""
    return quantity * unit_cents


@shared_task
def add_shipping(cents, shipping_cents):
    return cents + shipping_cents


@shared_task
def total(amounts):
    return sum(amounts)


@shared_task
def receipt(order):
    return f"thank you for order {order}"


@shared_task
def pack(order, seconds):
    """Slow: keeps its process busy for so many seconds."""
    time.sleep(seconds)
    return f"{order} packed"


@shared_task
def print_catalogue(megabytes):
    """Memory-hungry: holds so many megabytes, then lets them go. Returns them and the process's peak."""
    pages = [bytearray(os.urandom(1024) * 1024) for _ in range(megabytes)]
    held = sum(len(page) for page in pages) >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"held": held, "peak": peak >> (20 if sys.platform == "darwin" else 10)}


@shared_task(
    bind=True,
    autoretry_for=(PaymentDeclinedError,),
    max_retries=5,
    retry_backoff=1,
    retry_backoff_max=60,
    retry_jitter=False,
)
def charge_card(self, order, succeed_at):
    """Failing with retry: declined until the given attempt, with 1, 2, 4 ... seconds between attempts."""
    attempt = self.request.retries + 1
    if attempt < succeed_at:
        raise PaymentDeclinedError(f"order {order}, attempt {attempt}")
    return {"order": order, "retries": self.request.retries}


@shared_task(ignore_result=True)
def count_view(page):
    """Stores no result: the row is all there is."""
    Event.objects.create(kind="page_view", subject=page)


@shared_task(bind=True)
def locate(self):
    """Which queue brought this task, and which process of which node runs it."""
    return {
        "queue": self.request.delivery_info["routing_key"],
        "node": self.request.hostname,
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
    }


@shared_task(bind=True)
def recommend(self, product):
    """Heavy: goes to the queue `ml` by its route and asks the model that its process keeps loaded."""
    return {
        "products": model().recommend(product),
        "model": model().serial,
        "queue": self.request.delivery_info["routing_key"],
        "node": self.request.hostname,
        "pid": os.getpid(),
    }


@shared_task
def most_recommended(recommendations):
    votes = Counter(product for found in recommendations for product in found["products"])
    return min(votes, key=lambda product: (-votes[product], product))


@shared_task(ignore_result=True)
def count_stock():
    """On an interval."""
    Event.objects.create(kind="stock_counted", subject="all")


@shared_task(ignore_result=True)
def forget_old_events(days=7):
    """On a crontab. A worker's start is kept: there are few, and a worker may run for long."""
    Event.objects.filter(at__lt=timezone.now() - timedelta(days=days)).exclude(kind="worker_init").delete()
