"""What comes through the fence, on a real Redis through kombu's own transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import celery
import pytest
import redis
from celeryops.beat import fence as fences
from celeryops.beat.fence import Attempt, Fence, FencedOutError, fenced
from celeryops.beat.keys import Keys
from celeryops.beat.ledger import Line
from kombu import Exchange, Queue

SLOT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
BEFORE = Line(SLOT, 4, "four")
AFTER = Line(SLOT + timedelta(seconds=1), 5, "five")
KEYS = Keys("grove:", "grove")


class Yard:
    """An application, its fence and its Redis."""

    def __init__(self, port: int, url: str) -> None:
        self.client = redis.Redis(port=port, decode_responses=True)
        self.client.flushall()
        self.app = celery.Celery(broker=url, set_as_current=False, loader="app")
        self.app.conf.update(
            broker_transport_options={"global_keyprefix": "grove:", "priority_steps": [0, 3, 6, 9]},
            task_send_sent_event=True,
            task_default_queue="oak",
            task_queues=[
                Queue("oak"),
                Queue("elm", Exchange("trees", type="topic"), routing_key="tree.#"),
                Queue("ash", Exchange("trees", type="topic"), routing_key="tree.ash"),
                Queue("fir", Exchange("woods", type="fanout")),
                Queue("short", expires=60.0),
            ],
        )
        self.fence = Fence("grove", self.app.conf.event_exchange)
        self.connection = fenced(self.app.connection_for_write(), self.fence)
        self.producer = self.app.amqp.Producer(self.connection, auto_declare=False)
        self.client.set(KEYS.lease, "1|token")
        self.client.hset(KEYS.ledger, "often", BEFORE.text())

    def attempt(self, **changes: Any) -> Attempt:
        return Attempt(**{"token": "1|token", "entry": "often", "before": BEFORE, "after": AFTER, **changes})

    def send(self, attempt: Attempt, **options: Any) -> Attempt:
        self.fence.attempt = attempt
        try:
            self.app.send_task("grove.touch", producer=self.producer, task_id="five", retry=False, **options)
        finally:
            self.fence.attempt = None
        return attempt

    def queue(self, name: str) -> list[Any]:
        return [json.loads(text) for text in self.client.lrange(f"grove:{name}", 0, -1)]

    def line(self) -> str | None:
        return self.client.hget(KEYS.ledger, "often")  # type: ignore[return-value]


@pytest.fixture
def yard(server: Any) -> Iterator[Yard]:
    yard = Yard(server.port, server.url)
    yield yard
    yard.connection.release()


def test_a_task_comes_with_its_line(yard: Yard) -> None:
    attempt = yard.send(yard.attempt())
    assert attempt.result == fences.PUSHED
    assert [message["headers"]["id"] for message in yard.queue("oak")] == ["five"]
    assert yard.line() == AFTER.text()


def test_sent_again_by_the_same_attempt_it_comes_once(yard: Yard) -> None:
    yard.send(yard.attempt())
    assert yard.send(yard.attempt()).result == fences.REPEATED
    assert len(yard.queue("oak")) == 1


@pytest.mark.parametrize("lease", ["2|another", None])
def test_without_the_lease_nothing_comes(yard: Yard, lease: str | None) -> None:
    yard.client.set(KEYS.lease, lease) if lease else yard.client.delete(KEYS.lease)
    attempt = yard.attempt()
    with pytest.raises(FencedOutError, match="not ours any more"):
        yard.send(attempt)
    assert attempt.result == fences.LOST
    assert yard.queue("oak") == [] and yard.line() == BEFORE.text()


def test_what_another_beat_has_sent_does_not_come_again(yard: Yard) -> None:
    yard.client.hset(KEYS.ledger, "often", Line(SLOT + timedelta(seconds=9), 9, "nine").text())
    attempt = yard.attempt()
    with pytest.raises(FencedOutError, match="another beat"):
        yard.send(attempt)
    assert attempt.result == fences.MOVED
    assert yard.queue("oak") == []


def test_several_queues_get_it_in_the_one_step(yard: Yard) -> None:
    attempt = yard.send(
        yard.attempt(), exchange="trees", routing_key="tree.ash", declare=yard.app.conf.task_queues
    )
    assert attempt.targets == 2
    assert len(yard.queue("elm")) == len(yard.queue("ash")) == 1


def test_a_priority_goes_to_its_own_list(yard: Yard) -> None:
    yard.send(yard.attempt(), priority=6)
    assert list(yard.client.keys("grove:oak*")) == ["grove:oak\x06\x166"]


def test_a_broadcast_is_published_in_the_step(yard: Yard, until: Any) -> None:
    listener = yard.client.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("*")
    until(yard.client.pubsub_numpat, "the listener listens")
    attempt = yard.send(
        yard.attempt(), exchange="woods", routing_key="wood", declare=[yard.app.amqp.queues["fir"]]
    )
    assert attempt.result == fences.PUSHED

    def heard() -> Any:
        message = listener.get_message(timeout=1)
        return message if message and "woods" in message["channel"] else None

    message = until(heard, "the broadcast")
    listener.close()
    assert message["channel"].startswith("grove:/0.woods")
    assert json.loads(message["data"])["headers"]["id"] == "five"


def test_a_queue_that_expires_does_so(yard: Yard) -> None:
    yard.send(yard.attempt(), queue="short")
    assert 0 < yard.client.pttl("grove:short") <= 60_000


def test_nothing_else_is_held_up(yard: Yard) -> None:
    """Events of Celery beside the task, and whatever is sent when no attempt is under way."""
    yard.client.delete(KEYS.lease)
    yard.app.send_task("grove.other", producer=yard.producer)
    assert len(yard.queue("oak")) == 1
    assert yard.line() == BEFORE.text()


def test_nobody_bound_is_told(yard: Yard) -> None:
    attempt = yard.send(yard.attempt(), exchange="trees", routing_key="stone")
    assert (attempt.result, attempt.targets) == (fences.PUSHED, 0)


def test_the_next_of_several_urls_is_fenced_too(yard: Yard) -> None:
    """kombu makes its transport anew when it goes on to the next one."""
    yard.producer.publish("x", routing_key="warm")
    yard.connection.switch(yard.app.conf.broker_url)
    yard.client.delete(KEYS.lease)
    attempt = yard.attempt()
    producer = yard.app.amqp.Producer(yard.connection, auto_declare=False)
    yard.producer = producer
    with pytest.raises(FencedOutError):
        yard.send(attempt)
    assert yard.queue("oak") == []
