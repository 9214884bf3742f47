"""The lease and its tools, on a real Redis, with several candidates in one process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import celery
import pytest
from celeryops.beat import tools
from celeryops.beat.lease import HAND_OVER, KEPT, LOST, Lease
from celeryops.beat.ledger import Line
from celeryops.books import Books

SLOT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def app(server: Any) -> celery.Celery:
    app = celery.Celery(broker=server.url, set_as_current=False, loader="app")
    app.conf.broker_transport_options = {"global_keyprefix": "grove:"}
    return app


@pytest.fixture
def books(app: celery.Celery) -> Iterator[Books]:
    books = Books.open(app, "grove")
    books.client.flushall()
    yield books
    books.close()


@pytest.fixture
def candidate(app: celery.Celery, books: Books, tmp_path: Path) -> Iterator[Callable[..., Lease]]:
    made = []

    def make(host: str, ttl: float = 5.0, poll: float = 1.0) -> Lease:
        about = {"pid": 7, "state": "standby", "tick_age": 0.1, "trouble": ""}

        def describe() -> str:
            return json.dumps({**about, "host": host, "clock": time.time()})

        lease = Lease(
            app, "grove", f"beat@{host}", host, ttl, poll, describe, str(tmp_path / f"{host}.lease")
        )
        made.append(lease)
        return lease

    yield make
    for lease in made:
        lease.disconnect()


def test_one_of_two_has_it(candidate: Callable[..., Lease]) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    held = first.acquire().held
    assert held is not None and held.epoch == 1 and held.valid()
    refused = second.acquire()
    assert refused.held is None
    assert refused.left is not None and 0 < refused.left <= 5
    assert first.renew() == KEPT
    assert second.renew() == LOST


def test_an_attempt_whose_answer_was_lost_does_not_lock_its_own_process_out(
    candidate: Callable[..., Lease],
) -> None:
    lease = candidate("worker1")
    lease.acquire()
    lease.held = None
    again = lease.acquire().held
    assert again is not None and again.epoch == 1


def test_it_runs_out_and_the_next_has_a_higher_epoch(candidate: Callable[..., Lease], until: Any) -> None:
    first, second = candidate("worker1", ttl=1.0, poll=0.2), candidate("worker2", ttl=1.0, poll=0.2)
    held = first.acquire().held
    assert held is not None
    taken = until(lambda: second.acquire().held, "the lease has run out")
    assert taken.epoch == 2
    assert not held.valid(), "the first one must have stopped before"
    assert first.renew() == LOST


def test_given_back_it_is_free_at_once_and_the_bell_rings(candidate: Callable[..., Lease]) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    bell = second.pubsub()
    bell.get_message(timeout=1)  # the subscription
    first.release(gone=True)
    assert bell.get_message(timeout=5)["data"] == b"free"
    taken = second.acquire().held
    assert taken is not None and taken.epoch == 2
    second.release(gone=False)
    bell.close()


def test_who_does_not_have_it_gives_nothing_back(candidate: Callable[..., Lease]) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    second.release(gone=True)
    assert first.renew() == KEPT


def test_epochs_go_on_when_redis_has_lost_everything(candidate: Callable[..., Lease], books: Books) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    second.acquire()
    books.client.flushall()
    taken = second.acquire().held
    assert taken is not None and taken.epoch == 2


def test_pinned_it_goes_there_and_nowhere_else(candidate: Callable[..., Lease], books: Books) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    held = first.acquire().held
    assert held is not None
    assert tools.place(books, "pinned", "worker2")["changed"]
    assert not tools.place(books, "pinned", "worker2")["changed"]
    left = books.client.pttl(first.keys.lease)
    time.sleep(0.05)
    assert first.renew() == HAND_OVER
    assert books.client.pttl(first.keys.lease) < left, "a lease that shall move is not renewed"
    first.release(gone=False)
    assert first.acquire().held is None, "even while nobody has it"
    assert second.acquire().held is not None
    assert second.renew() == KEPT


def test_preferred_it_goes_there_while_that_host_is_fit(
    candidate: Callable[..., Lease], books: Books
) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    tools.place(books, "preferred", "worker2")
    assert first.acquire().held is not None, "nobody is there whom to prefer"
    assert first.renew() == KEPT
    second.fit = False
    second.acquire()
    assert first.renew() == KEPT
    second.fit = True
    second.acquire()
    assert first.renew() == HAND_OVER
    first.release(gone=False)
    assert first.acquire().held is None
    assert second.acquire().held is not None
    second.release(gone=True)
    assert first.acquire().held is not None, "it has gone"


def test_an_unfit_candidate_takes_nothing_and_is_seen(candidate: Callable[..., Lease], books: Books) -> None:
    lease = candidate("worker1")
    lease.fit = False
    assert lease.acquire().held is None
    (seen,) = tools.show(books)["candidates"]
    assert seen["host"] == "worker1" and seen["fit"] is False


def test_show_says_all_in_one_answer(candidate: Callable[..., Lease], books: Books) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    second.acquire()
    tools.place(books, "preferred", "worker1")
    report = tools.show(books)
    assert report["epoch"] == report["lease"]["epoch"] == 1
    assert report["lease"]["host"] == "worker1" and 0 < report["lease"]["left"] <= 5
    assert report["place"] == {"mode": "preferred", "host": "worker1"}
    assert report["persistent"] is True
    assert [one["host"] for one in report["candidates"]] == ["worker1", "worker2"]
    assert abs(report["candidates"][0]["clock_offset"]) < 5
    assert "beat runs on worker1, epoch 1" in tools.render(report)
    assert "It is preferred on worker1." in tools.render(report)


def test_show_of_nothing_says_what_to_do(books: Books) -> None:
    text = tools.render(tools.show(books))
    assert "No beat has the lease" in text and "No candidate runs" in text


def test_a_host_that_has_left_is_forgotten_with_its_lease(
    candidate: Callable[..., Lease], books: Books
) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    assert tools.forget(books, "worker1") == {"changed": True}
    assert tools.forget(books, "worker1") == {"changed": False}
    assert first.renew() == LOST
    assert second.acquire().held is not None
    assert tools.forget(books, "worker1")["changed"], "its renewal has entered it again"
    assert second.renew() == KEPT, "which was not its lease"


def test_after_a_crash_the_token_gives_the_lease_back_once(
    candidate: Callable[..., Lease], books: Books, tmp_path: Path
) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    first.acquire()
    token = tmp_path / "worker1.lease"
    assert token.stat().st_mode & 0o777 == 0o600
    kept = token.read_text()
    assert tools.hand_back(books, token) is True
    assert not token.exists()
    assert tools.hand_back(books, token) is False
    assert second.acquire().held is not None
    token.write_text(kept)
    assert tools.hand_back(books, token) is False, "it is somebody else's by now"
    assert second.renew() == KEPT


def test_a_lease_that_is_dropped_leaves_no_token(candidate: Callable[..., Lease], tmp_path: Path) -> None:
    lease = candidate("worker1")
    lease.acquire()
    lease.drop()
    assert not (tmp_path / "worker1.lease").exists()


def test_only_the_holder_writes_the_ledger(candidate: Callable[..., Lease], books: Books) -> None:
    first, second = candidate("worker1"), candidate("worker2")
    held = first.acquire().held
    assert held is not None
    line = Line(SLOT)
    assert first.baselines(held.token, {"a": line, "b": line}) == {"a": line, "b": line}
    later = Line(SLOT + timedelta(seconds=1))
    assert first.baselines(held.token, {"a": later}) == {"a": line}, "what stands there stays"
    assert first.pass_over(held.token, "a", line, later) == 1
    assert first.pass_over(held.token, "a", line, later) == 2, "the same attempt again"
    assert first.pass_over(held.token, "b", later, Line(SLOT, 1)) == -2
    first.release(gone=False)
    second.acquire()
    assert first.baselines(held.token, {"c": line}) is None
    assert first.pass_over(held.token, "b", line, later) == -1
    assert second.ledger() == {"a": later, "b": line}


def test_a_redis_that_refuses_writes_can_be_asked(candidate: Callable[..., Lease], books: Books) -> None:
    candidate("worker1").acquire()
    books.client.config_set("min-replicas-to-write", 1)
    try:
        report = tools.show(books)
    finally:
        books.client.config_set("min-replicas-to-write", 0)
    assert report["lease"]["host"] == "worker1"
    assert [one["host"] for one in report["candidates"]] == ["worker1"]
