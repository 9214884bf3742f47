"""Which faults, how often, on which Redis and with which settings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.beat import faults
from benchmarks.beat.arena import Arena
from benchmarks.beat.candidates import Lease, RedBeat
from benchmarks.beat.counting import by_slot, by_time, out_of_order, seconds
from benchmarks.beat.servers import Pair, Single

FENCED = ["min-replicas-to-write 1", "min-replicas-max-lag 1"]


@dataclass(frozen=True)
class Scenario:
    """One fault, again and again.

    Parameters:
        rounds: How often in the full run.
        short: How often in the short one.
        fails_over: Whether another candidate has to take over each time.
    """

    name: str
    strike: Callable[[Arena], float]
    system: Callable[[float], Lease | RedBeat]
    rounds: int
    short: int = 0
    ttl: float = 3
    servers: Callable[[Path], Single | Pair] = Single
    skews: tuple[int, ...] = (0, 0, 0)
    fails_over: bool = True


def lease(**settings: Any) -> Callable[[float], Lease]:
    return lambda ttl: Lease(ttl, **settings)


def pair(*directives: str) -> Callable[[Path], Pair]:
    return lambda folder: Pair(folder, *directives)


OURS = [
    Scenario("sigkill", faults.kill, lease(), 40, 2, ttl=10),
    Scenario("handback", faults.kill_and_hand_back, lease(), 40, 3, ttl=10),
    Scenario("sigterm", faults.terminate, lease(), 30, 2, ttl=10),
    Scenario("move", faults.move, lease(), 30, 2, ttl=10),
    Scenario("sigstop", faults.stop_and_continue, lease(), 20, 2),
    Scenario("stop_before_write", faults.stop_before_the_write, lease(), 25, 3),
    Scenario("skew", faults.kill, lease(), 20, skews=(0, 2, -2)),
    Scenario("freeze", faults.freeze, lease(), 10, 1, fails_over=False),
    Scenario("redis_kill", faults.restart_redis, lease(), 10, 1, fails_over=False),
    Scenario("persistent", faults.kill, lease(scheduler="celery.beat:PersistentScheduler"), 8),
    Scenario("coalesce", faults.kill, lease(catch_up="coalesce"), 6),
    Scenario("sentinel", faults.lose_the_master, lease(), 6, servers=pair(), fails_over=False),
    Scenario("sentinel_cut", faults.lose_the_master_after_a_cut, lease(), 4, servers=pair(), fails_over=False),
    Scenario(
        "sentinel_cut_min_replicas",
        faults.lose_the_master_after_a_cut,
        lease(),
        6,
        servers=pair(*FENCED),
        fails_over=False,
    ),
]
THEIRS = [
    Scenario("redbeat_sigkill", faults.kill, RedBeat, 12, ttl=10),
    Scenario("redbeat_sigterm", faults.terminate, RedBeat, 10, ttl=10),
    Scenario("redbeat_sigstop", faults.stop_and_continue, RedBeat, 10),
    Scenario("redbeat_stop_before_write", faults.stop_before_the_write, RedBeat, 12),
    Scenario("redbeat_skew", faults.kill, RedBeat, 6, skews=(0, 2, -2)),
    Scenario("redbeat_freeze", faults.freeze, RedBeat, 5, fails_over=False),
    Scenario("redbeat_redis_kill", faults.restart_redis, RedBeat, 5, fails_over=False),
]


@dataclass
class Outcome:
    """What one scenario has come to."""

    scenario: str
    rounds: int
    failovers: int
    pushes: int
    duplicates: int
    missed: int
    expected: int
    epoch_regressions: int
    crashes: int
    first_publish_p50_s: float | None
    first_publish_p99_s: float | None
    trouble: str = ""

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "scenario"}


def run(scenario: Scenario, rounds: int, keep: Path | None = None) -> tuple[Outcome, list[float]]:
    """So many rounds; with the first-publish time of each."""
    with tempfile.TemporaryDirectory(prefix="celeryops-beat-") as temporary:
        folder = (keep or Path(temporary)) / scenario.name
        folder.mkdir(parents=True)
        system = scenario.system(scenario.ttl)
        took: list[float] = []
        trouble = ""
        with Arena(folder, system, scenario.servers(folder), scenario.skews) as arena:
            try:
                for _ in range(rounds):
                    took.append(scenario.strike(arena))
                    arena.calm()
            except TimeoutError as error:
                trouble = str(error)
        count = by_slot(arena.pushes) if isinstance(system, Lease) else by_time(arena.pushes)
        regressions = arena.epochs.regressions + out_of_order(arena.pushes)
        outcome = Outcome(
            scenario.name,
            rounds,
            len(took) if scenario.fails_over else 0,
            count.pushes,
            count.duplicates,
            count.missed,
            count.expected,
            regressions,
            arena.crashes,
            **seconds(took),
            trouble=trouble,
        )
        return outcome, took
