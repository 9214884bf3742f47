"""What Flower shows, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.sockets import listeners

from tests.support.waiting import until

from .conftest import PASSWORD

if TYPE_CHECKING:
    from .conftest import Flower, Reef

SHOWING = ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length"]
STEERING = [
    "/api/worker/shutdown/default-1@reef1",
    "/api/worker/pool/restart/default-1@reef1",
    "/api/worker/pool/grow/default-1@reef1",
    "/api/worker/queue/cancel-consumer/default-1@reef1?queue=reef",
    "/api/task/async-apply/reef.add",
    "/api/task/send-task/reef.add",
    "/api/task/revoke/0123",
]


def test_listens_on_the_loopback_alone(flower: Flower) -> None:
    assert {one.address for one in listeners() if one.port == flower.port} == {"127.0.0.1"}


@pytest.mark.parametrize("path", SHOWING)
@pytest.mark.parametrize("password", [None, "", "wrong", PASSWORD.partition(",")[0]])
def test_shows_nothing_without_the_password(flower: Flower, path: str, password: str | None) -> None:
    assert flower.request(path, password=password)[0] == 401


@pytest.mark.parametrize("path", SHOWING)
def test_shows_everything_with_the_password(flower: Flower, path: str) -> None:
    assert flower.request(path)[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/healthcheck"])
def test_two_pages_stay_open_as_the_readme_warns(flower: Flower, path: str) -> None:
    assert flower.request(path, password=None)[0] == 200


def test_shows_workers_tasks_and_queues_without_the_application(reef: Reef, flower: Flower) -> None:
    workers = until(lambda: flower.get("/api/workers?refresh=1"), "Flower knows the worker")
    assert "reef.add" in workers["default-1@reef1"]["registered"]
    result = reef.producer().send_task("reef.add", args=[20, 22], queue="reef")
    assert result.get(timeout=120) == 42
    task = until(lambda: flower.get("/api/tasks").get(result.id, {}).get("succeeded"), "Flower saw the task")
    assert task
    shown = flower.get("/api/tasks")[result.id]
    assert (shown["name"], shown["state"], shown["result"]) == ("reef.add", "SUCCESS", "42")
    assert flower.get("/api/queues/length") == {"active_queues": [{"name": "reef", "messages": 0}]}


@pytest.mark.parametrize("path", STEERING)
def test_does_not_steer(flower: Flower, path: str) -> None:
    assert flower.request(path, method="POST", password=None)[0] == 401
    assert flower.request(path, method="POST")[0] == 403


def test_steers_when_asked_to(reef: Reef) -> None:
    flower = reef.start_flower(read_only=False)
    until(lambda: "default-1@reef1" in flower.get("/api/workers?refresh=1"), "Flower knows the worker")
    # What Flower answers depends on whether a busy worker has done it within a second.
    for verb, count in (("grow", 2), ("shrink", 1)):
        flower.request(f"/api/worker/pool/{verb}/default-1@reef1", method="POST")
        until(lambda count=count: reef.processes() == count, f"the worker has done it: {verb}")


def test_no_secret_on_its_command_line_nor_a_password_in_its_environment(flower: Flower) -> None:
    process = Path(f"/proc/{flower.process.pid}")
    assert PASSWORD not in (process / "cmdline").read_text()
    assert "hunter2" not in (process / "cmdline").read_text()
    assert PASSWORD not in (process / "environ").read_text()


def test_never_gives_back_a_message_that_a_worker_holds(reef: Reef, flower: Flower) -> None:
    """Its visibility timeout is 1 s here, that of the worker an hour."""
    assert flower.answers()
    result = reef.producer().send_task("reef.nap", args=[6], queue="reef")
    result.get(timeout=120)
    import redis

    assert redis.Redis.from_url(reef.url).get("naps") == b"1"


def test_ends_at_once_when_asked(reef: Reef) -> None:
    flower = reef.start_flower()
    flower.process.terminate()
    assert flower.process.wait(30) == 0
