"""The proofs that `manage.py check_canvas` asks of the workers.

A check is a function that sends tasks and returns a second one, which waits for them and returns what was
expected and what was found. So all tasks are under way before the first result is waited for.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from . import tasks
from .canvas import canvases
from .models import Event
from .recommender import PRODUCTS, model

POLL = 0.1  # seconds


class Deadline:
    """One moment that everything waits for: many missing results cost no more time than one."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def result(self, sent: Any) -> Any:
        return sent.get(timeout=max(POLL, self._end - time.monotonic()), interval=POLL)

    def events(self, kind: str, subject: str, count: int = 1) -> list[Event]:
        """The rows of this kind, as soon as there are so many, or those there are when time is up."""
        while True:
            rows = list(Event.objects.filter(kind=kind, subject=subject))
            if len(rows) >= count or time.monotonic() > self._end:
                return rows
            time.sleep(POLL)


Finish = Callable[[Deadline], tuple[Any, Any]]
Check = Callable[[], Finish]


def canvas(signature: Any, expected: Any) -> Check:
    def start() -> Finish:
        sent = signature.apply_async()
        return lambda deadline: (expected, deadline.result(sent))

    return start


def slow() -> Finish:
    seconds = 1.5
    sent = tasks.pack.delay("A-3", seconds)

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        found = deadline.result(sent)
        [begun] = deadline.events("task_prerun", sent.id)
        [ended] = deadline.events("task_success", sent.id)
        took = (ended.at - begun.at).total_seconds()
        return ["A-3 packed", "in time"], [found, "in time" if took >= seconds else f"after {took} s already"]

    return finish


def memory_hungry() -> Finish:
    megabytes = 64
    sent = tasks.print_catalogue.delay(megabytes)

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        found = deadline.result(sent)
        return {"held": megabytes, "peak": max(megabytes, found["peak"])}, found

    return finish


def failing_with_retry() -> Finish:
    sent = tasks.charge_card.delay("A-4", succeed_at=3)

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        found = deadline.result(sent)
        attempts = len(deadline.events("task_prerun", sent.id, count=3))
        return {"order": "A-4", "retries": 2, "attempts": 3}, {**found, "attempts": attempts}

    return finish


def ignore_result() -> Finish:
    page = f"/{uuid.uuid4().hex}"
    sent = tasks.count_view.delay(page)

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        found = {
            "views": len(deadline.events("page_view", page)),
            "successes": len(deadline.events("task_success", sent.id)),
            # Nothing was stored: to the result backend it is a task that never ran.
            "state": sent.app.AsyncResult(sent.id).state,
        }
        return {"views": 1, "successes": 1, "state": "PENDING"}, found

    return finish


def signals() -> Finish:
    sent = tasks.locate.delay()

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        place = deadline.result(sent)
        node = place["node"]
        # worker_init runs in the main process: in a prefork pool, the parent of the one that ran the task.
        mains = [str(place["parent_pid"]), str(place["pid"])]
        found = {
            "worker_init": Event.objects.filter(kind="worker_init", subject__in=mains, node=node).count(),
            "task_prerun": [row.node for row in deadline.events("task_prerun", sent.id)],
            "task_success": [row.node for row in deadline.events("task_success", sent.id)],
        }
        return {"worker_init": 1, "task_prerun": [node], "task_success": [node]}, found

    return finish


def route_to_default() -> Finish:
    sent = tasks.locate.delay()

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        found = deadline.result(sent)
        return {**found, "queue": sent.app.conf.task_default_queue}, found

    return finish


def route_to_ml() -> Finish:
    """And the model is loaded once for each process, however many tasks the process runs."""
    products = PRODUCTS[:12]
    sent = [tasks.recommend.delay(product) for product in products]

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        answers = [deadline.result(one) for one in sent]
        places = {(answer["node"], answer["pid"]) for answer in answers}
        loads = {(answer["node"], answer["pid"], answer["model"]) for answer in answers}
        wrong = [
            product
            for product, answer in zip(products, answers, strict=True)
            if answer["products"] != model().recommend(product)
        ]
        found = {
            "queues": sorted({answer["queue"] for answer in answers}),
            "nodes": sorted({node for node, _ in places}),
            "model loads": len(loads),
            "wrong answers": wrong,
        }
        return {**found, "queues": ["ml"], "model loads": len(places), "wrong answers": []}, found

    return finish


def schedule() -> Finish:
    seen = Event.objects.filter(kind="stock_counted").count()

    def finish(deadline: Deadline) -> tuple[Any, Any]:
        rows = len(deadline.events("stock_counted", "all", count=seen + 1))
        return "ran again", "ran again" if rows > seen else "did not run"

    return finish


def checks(with_schedule: bool) -> Iterator[tuple[str, Check]]:
    yield "quick", canvas(tasks.price.s(2, 250), 2 * 250)
    yield "slow", slow
    yield "memory-hungry", memory_hungry
    yield "failing with retry", failing_with_retry
    yield "ignore_result", ignore_result
    yield "signals", signals
    yield "route to celery", route_to_default
    yield "route to ml", route_to_ml
    for name, signature, expected in canvases():
        yield name, canvas(signature, expected)
    if with_schedule:
        yield "schedule", schedule
