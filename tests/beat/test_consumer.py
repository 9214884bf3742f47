"""The consumer loses no message, and counts none twice, on a real Redis."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from benchmarks.beat.consumer import Consumer
from tests.support.redis import RedisServer
from tests.support.waiting import until


def message(task: str, tag: str = "") -> str:
    body = base64.b64encode(json.dumps([["entry"], {}, {}]).encode()).decode()
    return json.dumps(
        {
            "body": body,
            "headers": {"id": task, "origin": "gen7@host"},
            "properties": {"delivery_tag": tag or str(uuid.uuid4())},
        }
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def consumed(consumer: Consumer, count: int) -> list[str]:
    until(lambda: len(consumer.pushes) >= count, f"{count} messages")
    return [push.task_id for push in consumer.pushes]


def test_a_move_whose_answer_was_lost_is_found_where_it_belongs(server: RedisServer) -> None:
    client: redis.Redis = server.client()
    consumer = Consumer(server.client, "queue")
    consumer.start()
    client.lpush("queue", message("a"))
    consumed(consumer, 1)
    # As if the answer of one move had never come.
    client.lpush("queue:seen", message("b"))
    client.lpush("queue", message("c"))
    consumed(consumer, 2)
    consumer.end()
    assert consumed(consumer, 3) == ["a", "b", "c"]


def test_the_same_push_counts_once_and_the_same_task_twice(server: RedisServer) -> None:
    client = server.client()
    consumer = Consumer(server.client, "queue")
    consumer.start()
    client.lpush("queue", message("a", "one"), message("a", "one"), message("a", "two"), message("b"))
    until(lambda: client.llen("queue:seen") == 4, "all are read")
    consumer.end()
    assert consumed(consumer, 3) == ["a", "a", "b"]
