from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import Any

import pytest
from celeryops.once import Once, WaitedTooLongError


def arguments(name: str, *command: str, release: str = "1") -> list[str]:
    return ["celeryops", "once", "--name", name, "--release", release, "--", *command]


def test_two_hosts_at_once_run_it_once(grove: Any) -> None:
    mark = grove.folder / "mark"
    command = arguments("migrate", "sh", "-c", f"echo said; sleep 0.5; echo x >> {mark}")
    results: list[subprocess.CompletedProcess[str]] = []
    hosts = [
        threading.Thread(target=lambda host=host: results.append(grove.run(*command, CELERYOPS_HOST=host)))
        for host in ("worker1", "worker2")
    ]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    answers = [json.loads(result.stdout) for result in results]
    assert sorted(answer["ran"] for answer in answers) == [False, True]
    assert {answer["rc"] for answer in answers} == {0}
    assert len({answer["host"] for answer in answers}) == 1
    assert mark.read_text() == "x\n"
    assert "said" in "".join(result.stderr for result in results)


def test_another_release_and_another_name_run_again(grove: Any) -> None:
    books = grove.books()
    for release, name in (("1", "migrate"), ("2", "migrate"), ("2", "collectstatic")):
        assert Once(books, name, release).run(lambda: 0, 5)["ran"] is True
    assert Once(books, "migrate", "1").run(lambda: 0, 5)["ran"] is False


def test_a_failure_is_recorded_and_tried_again(grove: Any) -> None:
    failed = grove.run(*arguments("migrate", "sh", "-c", "exit 3"), check=False)
    assert failed.returncode == 3
    assert json.loads(failed.stdout)["rc"] == 3
    assert json.loads(grove.run(*arguments("migrate", "true")).stdout) | {"finished": 0, "seconds": 0} == {
        "fleet": "grove",
        "name": "migrate",
        "release": "1",
        "ran": True,
        "rc": 0,
        "host": "worker1",
        "finished": 0,
        "seconds": 0,
    }


def test_a_waiter_reports_the_failure_it_waited_for(grove: Any) -> None:
    books = grove.books()
    answers: list[dict[str, Any]] = []
    waiter = threading.Thread(target=lambda: answers.append(Once(books, "m", "1").run(lambda: 0, 10)))

    def fail() -> int:
        waiter.start()
        time.sleep(1)
        return 4

    assert Once(books, "m", "1").run(fail, 10)["ran"] is True
    waiter.join()
    assert (answers[0]["ran"], answers[0]["rc"]) == (False, 4)


def test_a_dead_holder_frees_the_lease_and_a_living_one_keeps_it(grove: Any) -> None:
    books = grove.books()
    began = time.monotonic()
    books.client.set(books.key("once", "lease", "m"), "gone", px=700)
    assert Once(books, "m", "1").run(lambda: 0, 10)["ran"] is True
    assert time.monotonic() - began > 0.7

    def slow() -> int:
        time.sleep(4)  # longer than the lease's TTL: it must be renewed
        return 0 if books.client.exists(books.key("once", "lease", "n")) else 1

    assert Once(books, "n", "2", lease_ttl=3).run(slow, 10)["rc"] == 0
    assert not books.client.exists(books.key("once", "lease", "n"))


def test_waiting_has_an_end(grove: Any) -> None:
    books = grove.books()
    books.client.set(books.key("once", "lease", "m"), "worker9:1:x", px=20000)
    with pytest.raises(WaitedTooLongError, match="worker9"):
        Once(books, "m", "1").run(lambda: 0, 0.2)


def test_an_unknown_command(grove: Any) -> None:
    result = grove.run(*arguments("m", "/nonexistent"), check=False)
    assert result.returncode == 127
    assert "/nonexistent" in result.stderr
