"""The autoscaler in real workers on a real Redis. The machine is real: guards are set to what it has."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GB = 1000**3
NODE = "default-1@worker1"
# This machine may be busy with other tests: what is not looked at here holds nothing back.
CALM = {"load_per_cpu": 0, "psi_memory": 0, "psi_io": 0, "memory_reserve": 0, "idle": 2.0, "cooldown": 1.0}


class Scaled:
    """An autoscaled worker, and what it says of itself."""

    def __init__(self, grove: Any, until: Callable[..., Any]) -> None:
        self.grove = grove
        self.until = until
        self.file = grove.folder / "default-1.autoscale.json"
        self.sent = 0

    def start(self, *arguments: str, **limits: Any) -> Any:
        self.file.write_text(json.dumps({"min": 1, "max": 4, **CALM, **limits}))
        self.worker = self.grove.worker(
            "--autoscale=4,1", *arguments, CELERYOPS_AUTOSCALE_FILE=str(self.file)
        )
        return self.worker

    def command(self, check: bool = False, code: int = 0, **limits: Any) -> dict[str, Any]:
        """Ask the node, or give it limits, as the module of the collection does."""
        words = ["--set", json.dumps({"min": 1, "max": 4, **CALM, **limits})] if limits else []
        done = self.grove.run(
            *("celery", "-A", "grove", "fleet", "autoscale", "--json", "--nodes", NODE),
            *words,
            *(["--check"] if check else []),
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return dict(json.loads(done.stdout[done.stdout.index("{") :]))

    def ask(self, refused: bool = False, **limits: Any) -> dict[str, Any]:
        """What the command does once it has been started, which costs more than all the rest."""
        from celeryops.autoscale.command import ask

        given = {"min": 1, "max": 4, **CALM, **limits} if limits else None
        answer = ask(self.grove.producer, [NODE], given, False, 10)
        assert bool(answer["errors"] or answer["silent"]) == refused, answer
        return answer

    def state(self) -> dict[str, Any]:
        return dict(self.ask()["nodes"][NODE])

    def processes(self) -> int:
        """Children of the worker, by the kernel's account."""
        listed = Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children").read_text().split()
        return len(listed)

    def send(self, count: int, seconds: float, queue: str = "oak") -> None:
        for _ in range(count):
            self.sent += 1
            self.grove.producer.send_task(
                "grove.nap", args=(seconds, str(self.grove.folder / f"done-{self.sent}")), queue=queue
            )

    def done(self) -> int:
        return sum((self.grove.folder / f"done-{number}").exists() for number in range(1, self.sent + 1))

    def waits_in_redis(self) -> int:
        client = self.grove.books().client
        return sum(int(client.llen(key)) for key in ("grove:oak",))


@pytest.fixture
def scaled(grove: Any, until: Callable[..., Any]) -> Scaled:
    return Scaled(grove, until)


def test_grows_with_the_work_and_shrinks_when_it_is_done(scaled: Scaled) -> None:
    scaled.start()
    assert scaled.processes() == 1
    scaled.send(24, 0.5)
    scaled.until(lambda: scaled.processes() == 4, "it has as many processes as it may")
    scaled.until(lambda: scaled.done() == 24, "every task ended")
    scaled.until(lambda: scaled.processes() == 1, "idle processes went")
    assert scaled.state()["reason"] in ("steady", "shrink_idle")


def test_a_node_without_room_keeps_to_what_it_has_and_leaves_the_rest_to_others(scaled: Scaled) -> None:
    scaled.start(child_memory=10**15)
    scaled.send(100, 2.1)
    scaled.until(lambda: scaled.state()["held"], "it says that it is held back", step=0.3)
    state = scaled.state()
    assert (state["reason"], state["want"], state["fit"], state["limit"]) == ("hold_memory", 4, 0, 1)
    assert "memory_reserve is 0 MB" in state["text"]
    assert scaled.processes() == 1
    assert scaled.waits_in_redis() >= 100 - scaled.done() - 2, (
        "it has taken no message for a process it has not"
    )
    record = scaled.until(
        lambda: node if (node := scaled.grove.node())["autoscaler"]["held"] else None,
        "its record says so too",
    )
    assert record["processes"] == 1
    metrics = scaled.grove.run("celery", "-A", "grove", "fleet", "metrics").stdout
    assert f'celery_autoscaler_held{{fleet="grove",node="{NODE}",pool="default",host="worker1"}} 1' in metrics
    assert 'reason="hold_memory"} 1' in metrics
    scaled.ask(child_memory=1000)
    scaled.until(lambda: scaled.processes() == 4, "with room it grows")
    scaled.grove.hurry()
    scaled.until(lambda: scaled.done() == 100, "every task ended", 60)


def test_retreats_under_pressure_and_loses_nothing(scaled: Scaled) -> None:
    scaled.start()
    # More than it can do before the last question on any machine: nothing holds back a node that is idle.
    scaled.send(300, 1.5)
    scaled.until(lambda: scaled.processes() == 4, "it grew")
    answer = scaled.ask(memory_reserve=20 * 10**12, refused=True)
    assert "is all there is" in answer["errors"][NODE]
    # Twice a load that is always there.
    scaled.ask(load_per_cpu=0.000001)
    scaled.until(lambda: scaled.processes() == 1, "it retreated to its min")
    # Its last step was to shrink; what holds it back from then on, its next look at the machine says.
    scaled.until(lambda: scaled.state()["reason"] == "hold_load", "it says why it does not grow", step=0.3)
    scaled.grove.hurry()
    scaled.until(lambda: scaled.done() == 300, "every task ended", 120)
    assert "WorkerLostError" not in scaled.grove.log()


@pytest.mark.parametrize("late", [False, True])
def test_no_task_is_lost_while_it_grows_and_shrinks(scaled: Scaled, late: bool) -> None:
    scaled.grove.settings(task_acks_late=late)
    scaled.start(shrink_step=3, cooldown=0)
    for turn in range(6):
        scaled.send(60, 0.01)
        narrow = {"max": 1} if turn % 2 else {"max": 4}
        scaled.ask(shrink_step=3, cooldown=0, **narrow)
        scaled.until(lambda: scaled.done() >= scaled.sent - 30, "half of these ended")
    scaled.until(lambda: scaled.done() == 360, "every task ended", 120)
    assert "WorkerLostError" not in scaled.grove.log()


def test_a_lower_max_is_reached_under_load_and_nothing_restarts(scaled: Scaled) -> None:
    worker = scaled.start()
    scaled.send(200, 1.5)
    scaled.until(lambda: scaled.processes() == 4, "it grew")
    first = scaled.command(max=2)
    assert first["nodes"][NODE]["changed"] is True
    assert first["nodes"][NODE]["after"]["max"] == 2
    again = scaled.command(max=2)
    assert again["nodes"][NODE]["changed"] is False
    asked = scaled.command(check=True, max=3)
    assert asked["nodes"][NODE]["changed"] is True
    assert scaled.state()["max"] == 2
    scaled.until(lambda: scaled.processes() == 2, "it has no more than its new max")
    assert scaled.waits_in_redis() > 0
    assert worker.poll() is None
    scaled.grove.run("celery", "-A", "grove", "control", "-d", NODE, "autoscale", "3", "1")
    scaled.until(lambda: scaled.processes() == 3, "Celery's own command works too")
    stats = json.loads(
        scaled.grove.run("celery", "-A", "grove", "inspect", "-d", NODE, "stats", "--json").stdout
    )[NODE]
    assert stats["autoscaler"]["max"] == 3
    assert "reason" in stats["autoscaler"]


def test_a_lower_max_is_reached_where_each_process_has_messages_waiting(scaled: Scaled) -> None:
    scaled.grove.settings(worker_disable_prefetch=False, worker_prefetch_multiplier=4)
    scaled.start()
    scaled.send(300, 0.2)
    scaled.until(lambda: scaled.processes() == 4, "it grew")
    scaled.ask(max=1)
    scaled.until(lambda: scaled.processes() == 1, "it has no more than its new max")
    assert scaled.waits_in_redis() > 0
    assert "WorkerLostError" not in scaled.grove.log()


def test_a_lost_connection_costs_no_strength(scaled: Scaled) -> None:
    scaled.start()
    scaled.send(4, 0.1)
    scaled.until(lambda: scaled.done() == 4, "it works")
    client = scaled.grove.books().client
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_kill_filter(_type="pubsub", skipme=True)
    scaled.send(40, 0.4)
    scaled.until(lambda: scaled.processes() == 4, "it grows to its max again", 60)
    scaled.until(lambda: scaled.done() == 44, "every task ended", 60)


def test_what_cannot_be_is_refused_by_name_and_nothing_is_applied(scaled: Scaled) -> None:
    scaled.start()
    before = scaled.state()["given"]
    for wrong, words in (
        ({"min": 5}, "min 5 is above max 4"),
        ({"memroy_reserve": 1}, "memroy_reserve is not known"),
        ({"idle": "5s"}, "'5s' is no number"),
    ):
        answer = scaled.ask(refused=True, **wrong)
        assert words in answer["errors"][NODE]
    assert scaled.command(code=1, **wrong)["errors"] == answer["errors"]
    assert scaled.state()["given"] == before
    silent = scaled.grove.run(
        *("celery", "-A", "grove", "fleet", "autoscale", "--json", "--nodes", "gone-1@worker9"),
        *("--timeout", "1"),
        check=False,
    )
    assert json.loads(silent.stdout)["silent"] == ["gone-1@worker9"]


def test_a_node_without_an_autoscaler_says_so(grove: Any) -> None:
    grove.worker("-c", "1")
    done = grove.run("celery", "-A", "grove", "fleet", "autoscale", "--nodes", NODE, check=False)
    assert done.returncode == 1
    assert "was started without autoscale" in done.stderr


def test_an_application_s_own_autoscaler_takes_limits_and_refuses_guards(scaled: Scaled) -> None:
    scaled.grove.settings(worker_autoscaler="celery.worker.autoscale:Autoscaler")
    scaled.start()

    def give(**limits: Any) -> Any:
        words = ["fleet", "autoscale", "--json", "--nodes", NODE, "--set", json.dumps(limits)]
        done = scaled.grove.run("celery", "-A", "grove", *words, check=False)
        return json.loads(done.stdout[done.stdout.index("{") :])

    refused = give(min=1, max=4, psi_io=20)
    assert "celery.worker.autoscale:Autoscaler, which knows no psi_io" in refused["errors"][NODE]
    assert give(min=2, max=6)["nodes"][NODE]["changed"] is True
    scaled.until(lambda: scaled.processes() == 2, "it has its new min")
    scaled.until(
        lambda: scaled.grove.node()["autoscale"] == {"min": 2, "max": 6}, "its record has the new limits"
    )
    assert give(min=2, max=6)["nodes"][NODE]["changed"] is False
    assert scaled.state()["max"] == 6


def test_it_works_in_a_worker_that_knows_nothing_else_of_the_fleet(scaled: Scaled) -> None:
    for name in ("CELERY_LOADER", *[key for key in scaled.grove.environment if key.startswith("CELERYOPS_")]):
        scaled.grove.environment.pop(name)
    with (scaled.grove.folder / "grove.py").open("a") as module:
        module.write('app.conf.worker_autoscaler = "celeryops.autoscale:ResourceAutoscaler"\n')
    scaled.worker = scaled.grove.start(
        *("worker", "-n", NODE, "-l", "info", "--autoscale=3,1"),
        CELERYOPS_AUTOSCALE_FILE=str(scaled.file),
    )
    scaled.file.write_text(json.dumps({"min": 1, "max": 3, **CALM}))
    scaled.send(12, 0.5)
    scaled.until(lambda: scaled.processes() == 3, "it grew")
    scaled.until(lambda: scaled.done() == 12, "every task ended")
    scaled.until(lambda: scaled.processes() == 1, "idle processes went")


def test_a_file_that_cannot_be_used_costs_the_guards_not_the_worker(scaled: Scaled) -> None:
    scaled.start(max="many")
    state = scaled.state()
    assert (state["min"], state["max"]) == (1, 4)
    assert "cannot be used" in state["trouble"]
    scaled.send(2, 0.01)
    scaled.until(lambda: scaled.done() == 2, "it works")


def test_a_burst_takes_no_longer_than_with_celery_s_own(scaled: Scaled, until: Callable[..., Any]) -> None:
    """The figure is the benchmark's; a scaler that waited for its ticks would need many times as long."""

    def burst() -> float:
        scaled.send(8, 1.0)
        began = time.monotonic()
        until(lambda: scaled.processes() == 4, "it grew")
        took = time.monotonic() - began
        until(lambda: scaled.done() == scaled.sent, "every task ended")
        os.killpg(scaled.worker.pid, signal.SIGTERM)
        scaled.worker.wait(30)
        return took

    scaled.start()
    ours = burst()
    scaled.grove.settings(worker_autoscaler="celery.worker.autoscale:Autoscaler")
    scaled.start()
    assert ours < 5 * burst() + 2
