"""The mover is killed again and again while a producer writes all the time: every message arrives, once."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter

from tests.support.redis import RedisServer

from .conftest import Producer, place, producer, question, sent, start

MESSAGES = 20_000
STEADY = 1_000_000  # the first of those that are sent meanwhile
KILLS = 8


def test_killed_at_any_moment(old: RedisServer, new: RedisServer) -> None:
    fill(old)
    client = old.client()
    pipe = client.pipeline()
    for number in range(500):
        pipe.hset("unacked", f"tag-{number}", f"message-{number}")
        pipe.zadd("unacked_index", {f"tag-{number}": number})
        pipe.set(f"celery-task-meta-{number}", number)
    pipe.execute()
    asked = question(place(old.url), place(new.url))
    steady = Producer(old.url, first=STEADY)
    chance = random.Random(4)
    killed = 0
    try:
        for _ in range(KILLS):
            process = start(asked)
            # Imports take a second; the work itself less. What matters is a moment in the middle of it.
            before = client.hget("celeryops:grove:move", "seq")
            while client.hget("celeryops:grove:move", "seq") == before and process.poll() is None:
                time.sleep(0.0005)
            time.sleep(chance.uniform(0, 0.004))
            killed += process.poll() is None
            process.kill()
            process.communicate()
    finally:
        numbers = steady.stop()
    assert killed >= KILLS / 2, "the mover was too quick to be killed"
    for action in ("move", "sweep"):
        process = start({**asked, "action": action})
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err

    arrived = sent(new.client(), "oak")
    assert not sent(old.client(), "oak")
    twice = [number for number, times in Counter(arrived).items() if times > 1]
    assert twice == []
    # The last one may have been sent before its sender could say so.
    assert set(arrived) - {numbers[-1] + 1} == {*range(MESSAGES), *numbers}
    first = [number for number in arrived if number < STEADY]
    assert first == sorted(first)
    assert new.client().hlen("unacked") == new.client().zcard("unacked_index") == 500
    assert len(new.client().keys("celery-task-meta-*")) == 500
    assert not new.client().keys("celeryops:grove:move:staged*")


def test_two_at_once(old: RedisServer, new: RedisServer) -> None:
    fill(old)
    both = [start(question(place(old.url), place(new.url))) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
    assert sent(new.client(), "oak") == list(range(MESSAGES))


def fill(server: RedisServer) -> None:
    """A long queue: one real message and copies of it, for sending them one by one takes its time."""
    producer(server.url).send_task("grove.touch", args=[0], queue="oak")
    whole = json.loads(server.client().lindex("oak", 0))
    arguments = json.loads(base64.b64decode(whole["body"]))
    pipe = server.client().pipeline()
    for number in range(1, MESSAGES):
        arguments[0] = [number]
        whole["body"] = base64.b64encode(json.dumps(arguments).encode()).decode()
        pipe.lpush("oak", json.dumps(whole))
    pipe.execute()
