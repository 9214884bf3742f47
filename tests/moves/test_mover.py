"""What a fleet keeps in Redis goes over whole, in its order, and merges with what is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kombu.pools
import pytest

from tests.support.redis import RedisServer, free_port

from .conftest import Producer, place, producer, question, sent


def moved(asked: dict[str, Any]) -> dict[str, Any]:
    from celeryops.move import move

    return move(asked)


def test_everything_goes_over(old: RedisServer, new: RedisServer) -> None:
    app = producer(old.url)
    for number in range(450):
        app.send_task("grove.touch", args=[number], queue="oak", priority=0)
    app.send_task("grove.touch", args=[-1], queue="elm", countdown=3600)
    client = old.client()
    client.hset("unacked", "tag-1", "[held]")
    client.zadd("unacked_index", {"tag-1": 1234.5})
    client.set("celery-task-meta-1", "done", px=60_000)
    client.set("celery-taskset-meta-2.t", 3)
    client.zadd("celery-taskset-meta-2.j", {"part": 0})
    client.expire("celery-taskset-meta-2.j", 60)
    client.hset("celeryops:grove:once", "1/migrate", "{}")
    client.hset("celeryops:grove:hosts", "w1", "{}")
    client.set("celeryops:grove:node:default-1@w1", "{}")
    client.zadd("celeryops:grove:nodes", {"default-1@w1": 1})
    client.hset("celeryops:grove:beat:entries", "often", "a slot")
    client.set("celeryops:grove:beat:epoch", 7)
    client.set("celeryops:grove:beat:lease", "7|a token", px=60_000)
    client.set("celeryops:grove:beat:candidate:w1", "a record")
    client.sadd("tags", *map(str, range(700)))
    client.xadd("log", {"a": "b"})
    client.set("binary", bytes(range(256)))

    report = moved(question(place(old.url), place(new.url)))

    there = new.client()
    assert sent(there, "oak") == list(range(450))
    assert sent(there, "elm") == [-1]
    assert report["messages"] == 451 and report["late"] == 0
    assert there.hgetall("unacked") == {b"tag-1": b"[held]"}
    assert there.zscore("unacked_index", "tag-1") == 1234.5
    assert 50_000 < there.pttl("celery-task-meta-1") <= 60_000
    assert there.get("celery-taskset-meta-2.t") == b"3"
    assert (
        there.zrange("celery-taskset-meta-2.j", 0, -1) == [b"part"]
        and 50 < there.ttl("celery-taskset-meta-2.j") <= 60
    )
    assert there.hgetall("celeryops:grove:once") == {b"1/migrate": b"{}"}
    assert there.hgetall("celeryops:grove:hosts") == {b"w1": b"{}"}
    assert there.scard("tags") == 700
    assert there.xlen("log") == 1
    assert there.get("binary") == bytes(range(256))
    assert not there.keys("celeryops:grove:node*")
    assert there.hgetall("celeryops:grove:beat:entries") == {b"often": b"a slot"}, "beat goes on where it was"
    assert there.get("celeryops:grove:beat:epoch") == b"7"
    assert not there.exists("celeryops:grove:beat:lease", "celeryops:grove:beat:candidate:w1")
    # Bindings stay for producers that do not know yet; the mover's note is for the last sweep.
    assert {key.decode().partition(".")[0] for key in client.scan_iter()} == {
        "_kombu",
        "celeryops:grove:move",
    }
    assert there.smembers("_kombu.binding.oak") == client.smembers("_kombu.binding.oak") != set()

    kombu.pools.reset()
    last = moved(question(place(old.url), place(new.url), "sweep"))
    assert last["messages"] == 0
    assert not [*client.scan_iter()] or last["clients"]


def test_what_is_there_already_is_kept(old: RedisServer, new: RedisServer) -> None:
    early, late = producer(old.url), producer(new.url)
    for number in range(5):
        early.send_task("grove.touch", args=[number], queue="oak")
        late.send_task("grove.touch", args=[100 + number], queue="oak")
    old.client().hset("celeryops:grove:hosts", mapping={"w1": "old", "w2": "old"})
    new.client().hset("celeryops:grove:hosts", "w2", "new")
    old.client().set("celery-task-meta-1", "old")
    new.client().set("celery-task-meta-1", "new")

    moved(question(place(old.url), place(new.url)))

    assert sent(new.client(), "oak") == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
    assert new.client().hgetall("celeryops:grove:hosts") == {b"w1": b"old", b"w2": b"new"}
    assert new.client().get("celery-task-meta-1") == b"new"
    assert old.client().dbsize() == old.client().exists("celeryops:grove:move") + len(
        old.client().keys("_kombu*")
    )


def test_a_late_producer_is_swept_and_named(old: RedisServer, new: RedisServer) -> None:
    producer(new.url).send_task("grove.touch", args=[100], queue="oak")
    asked = place(old.at(9)), place(new.url)
    late = Producer(old.at(9), asked=True)
    try:
        late.send()
        moved(question(*asked))
        late.send()

        swept = moved(question(*asked, "sweep"))

        assert swept["late"] == 1
        assert [name.partition("@")[0] for name in swept["producers"]] == [str(late.pid)]
        assert swept["clients"], "its connections are named too"
        assert sorted(sent(new.client(), "oak")) == [0, 1, 100]
    finally:
        late.stop()

    quiet = moved(question(*asked, "sweep"))
    assert (quiet["late"], quiet["clients"]) == (0, [])
    assert not [*old.client(9).keys("celeryops*"), *new.client().keys("celeryops*")]


def test_another_database_of_the_same_server(old: RedisServer) -> None:
    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    moved(question(place(old.at(0)), place(old.at(5))))
    assert sent(old.client(5), "oak") == [1]
    assert sent(old.client(0), "oak") == []


@pytest.mark.parametrize(
    ("before", "after"), [("", "grove:"), ("grove:", ""), ("grove:", "wood:"), ("a*", "a*b")]
)
def test_another_prefix(old: RedisServer, before: str, after: str) -> None:
    for number in range(3):
        producer(old.url, before).send_task("grove.touch", args=[number], queue="oak")
    old.client().set("celery-task-meta-1", "a result")
    old.client().hset(f"{before}celeryops:grove:once", "1/migrate", "{}")

    moved(question(place(old.url, prefix=before), place(old.url, prefix=after)))
    moved(question(place(old.url, prefix=before), place(old.url, prefix=after), "sweep"))

    assert sent(old.client(), f"{after}oak") == [0, 1, 2]
    assert not sent(old.client(), f"{before}oak")
    assert old.client().hlen(f"{after}celeryops:grove:once") == 1
    assert not old.client().exists(f"{before}celeryops:grove:once")


def test_only_what_stands_behind_the_prefix(old: RedisServer, new: RedisServer) -> None:
    producer(old.url, "grove:").send_task("grove.touch", args=[1], queue="oak")
    producer(old.url, "wood:").send_task("wood.touch", args=[2], queue="ash")
    old.client().hset("wood:celeryops:wood:once", "1/migrate", "{}")
    old.client().set("celery-task-meta-1", "a result")
    old.client().set("cache", "of somebody")

    moved(question(place(old.url, prefix="grove:"), place(new.url, prefix="grove:")))

    assert sent(new.client(), "grove:oak") == [1]
    assert sent(old.client(), "wood:ash") == [2]
    # Whose a result is cannot be told, so it is copied.
    assert old.client().get("celery-task-meta-1") == new.client().get("celery-task-meta-1") == b"a result"
    assert not new.client().exists("cache", "wood:celeryops:wood:once")


def test_results_in_a_database_of_their_own(old: RedisServer, new: RedisServer) -> None:
    old.client(1).set("celery-task-meta-1", "a result", px=60_000)
    old.client(1).set("cache", "of somebody")
    here, there = place(old.url, results=old.at(1)), place(new.url, results=new.at(1))
    moved(question(here, there))
    assert new.client(1).keys() == [b"celery-task-meta-1"] and new.client(1).ttl("celery-task-meta-1") > 50
    assert old.client(1).dbsize() == 2


def test_another_name(old: RedisServer) -> None:
    client = old.client()
    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    client.hset("celeryops:grove:once", "1/migrate", "{}")
    client.hset("celeryops:grove:hosts", "w1", '{"roles": ["worker"], "opt_dir": "/opt/celery/grove"}')
    client.set("celeryops:grove:node:default-1@w1", "{}")
    client.hset("celeryops:moss:once", "1/migrate", "of another fleet")

    moved(question(place(old.url, "grove"), place(old.url, "wood")))
    moved(question(place(old.url, "grove"), place(old.url, "wood"), "sweep"))

    assert sent(client, "oak") == [1]
    assert sorted(client.keys("celeryops*")) == [
        b"celeryops:moss:once",
        b"celeryops:wood:hosts",
        b"celeryops:wood:once",
    ]
    assert json.loads(client.hget("celeryops:wood:hosts", "w1")) == {
        "roles": ["worker"],
        "opt_dir": "/opt/celery/wood",
    }


def test_another_name_and_another_server(old: RedisServer, new: RedisServer) -> None:
    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    old.client().hset("celeryops:grove:once", "1/migrate", "{}")
    moved(question(place(old.url, "grove"), place(new.url, "wood")))
    assert sent(new.client(), "oak") == [1]
    assert new.client().keys("celeryops:*:once") == [b"celeryops:wood:once"]


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_database_of_several_fleets_is_refused(old: RedisServer, new: RedisServer, side: str) -> None:
    from celeryops.move.place import MoveError

    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    (old if side == "old" else new).client().hset("celeryops:moss:once", "1/migrate", "{}")
    with pytest.raises(MoveError, match="also holds records of moss"):
        moved(question(place(old.url), place(new.url)))
    assert sent(old.client(), "oak") == [1]


def test_two_names_of_one_database_are_no_move(old: RedisServer) -> None:
    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    there = place(old.url.replace("127.0.0.1", "localhost"))
    assert moved(question(place(old.url), there)) == {"same": True}
    assert sent(old.client(), "oak") == [1]
    assert not old.client().keys("celeryops*")


def test_a_server_that_changes_its_port_takes_its_data_along(tmp_path: Path, new: RedisServer) -> None:
    from celeryops.move.place import MoveError

    with RedisServer(tmp_path / "one", "--appendonly", "yes") as server:
        here = place(server.url)
        producer(server.url).send_task("grove.touch", args=[1], queue="oak")
        port = free_port()
        there = place(server.url.replace(str(server.port), str(port)))
        moved(question(here, there, "mark"))
        server.stop()
        server.start(port)
        assert moved(question(here, there)) == {"same": True}
        assert sent(server.client(), "oak") == [1]
        # Without the mark the old place is simply gone.
        with pytest.raises(MoveError, match=r"does not answer.*celery_redis_abandon=true"):
            moved(question(here, place(new.url)))
        assert moved(question(here, place(new.url), abandon=True)) == {"same": False, "gone": True}


def test_no_password_is_shown(old: RedisServer, new: RedisServer) -> None:
    from celeryops.move.place import MoveError

    wrong = place(old.url.replace("first-secret", "another-secret"))
    with pytest.raises(MoveError) as caught:
        moved(question(wrong, place(new.url)))
    assert "secret" not in str(caught.value)


def test_a_goal_that_changes_half_way(old: RedisServer, new: RedisServer, tmp_path: Path) -> None:
    """From old to new, interrupted, then from both to a third."""
    from celeryops.move import mover

    with RedisServer(tmp_path / "third") as third:
        for number in range(500):
            producer(old.url).send_task("grove.touch", args=[number], queue="oak")
        stop = mover.arrive
        seen = []

        def breaks(*args: Any, **kwargs: Any) -> None:
            seen.append(1)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return stop(*args, **kwargs)

        mover.arrive = breaks
        try:
            with pytest.raises(KeyboardInterrupt):
                moved(question(place(old.url), place(new.url)))
        finally:
            mover.arrive = stop
        goal = place(third.url)
        moved(question(place(old.url), goal, others=[place(new.url)]))
        moved(question(place(new.url), goal))
        assert sorted(sent(third.client(), "oak")) == list(range(500))
        assert not sent(old.client(), "oak") and not sent(new.client(), "oak")


def test_both_places_must_answer_before_anything_is_stopped(old: RedisServer, new: RedisServer) -> None:
    from celeryops.move.place import MoveError

    nobody = f"redis://127.0.0.1:{free_port()}/0"
    producer(old.url).send_task("grove.touch", args=[1], queue="oak")
    with pytest.raises(MoveError, match=f"wanted in {nobody}.*does not answer.*celery_broker_url"):
        moved(question(place(old.url), place(nobody), "reach"))
    with pytest.raises(MoveError, match=f"are in {nobody}.*does not answer"):
        moved(question(place(nobody), place(new.url), "reach"))
    assert moved(question(place(old.url), place(new.url), "reach")) == {"same": False}
    assert sent(old.client(), "oak") == [1] and not new.client().keys("*")
