"""Which faults, how often, on which Redis and with which settings."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import RedisError

from benchmarks.beat import faults
from benchmarks.beat.arena import Arena
from benchmarks.beat.candidates import Lease, RedBeat
from benchmarks.beat.counting import by_slot, by_time, out_of_order, seconds, takeovers
from benchmarks.beat.servers import Pair, Single

FENCED = ["min-replicas-to-write 1", "min-replicas-max-lag 1"]


@dataclass(frozen=True)
class Scenario:
    """One fault, again and again.

    Parameters:
        strike: Does it once.
        system: Makes what is measured, given the TTL.
        rounds: How often.
        ttl: s, of the lease or lock.
        skews: s by which the clock of each host is ahead.
        excused: What is no failure here, and so is in no sum.
    """

    name: str
    strike: Callable[[Arena], float]
    system: Callable[[float], Lease | RedBeat]
    rounds: int
    ttl: float = 3
    servers: Callable[[Path], Single | Pair] = Single
    skews: tuple[int, ...] = (0, 0, 0)
    excused: tuple[str, ...] = ()


def lease(**settings: Any) -> Callable[[float], Lease]:
    return lambda ttl: Lease(ttl, **settings)


def pair(*directives: str) -> Callable[[Path], Pair]:
    return lambda folder: Pair(folder, *directives)


CUT_OFF = Scenario(
    "sentinel_cut_min_replicas",
    faults.lose_the_master_after_a_cut,
    lease(),
    6,
    servers=pair(*FENCED),
)
OURS = [
    Scenario("sigkill", faults.kill, lease(), 40, ttl=10),
    Scenario("handback", faults.kill_and_hand_back, lease(), 100, ttl=10),
    Scenario("sigterm", faults.terminate, lease(), 30, ttl=10),
    Scenario("move", faults.move, lease(), 30, ttl=10),
    Scenario("preferred", faults.kill_the_preferred, lease(), 6),
    Scenario("sigstop", faults.stop_and_continue, lease(), 20),
    Scenario("stop_before_write", faults.stop_before_the_write, lease(), 25),
    Scenario("hang", faults.hang, lease(), 4),
    Scenario("skew", faults.kill, lease(), 20, skews=(0, 2, -2)),
    Scenario("freeze", faults.freeze, lease(), 10),
    Scenario("redis_kill", faults.restart_redis, lease(), 10),
    Scenario("persistent", faults.kill, lease(scheduler="celery.beat:PersistentScheduler"), 8),
    Scenario("coalesce", faults.kill, lease(catch_up="coalesce"), 6, excused=("missed",)),
    Scenario("sentinel", faults.lose_the_master, lease(), 6, servers=pair()),
    Scenario(
        "sentinel_cut",
        faults.lose_the_master_after_a_cut,
        lease(),
        4,
        servers=pair(),
        excused=("duplicates",),  # the replica that was promoted did not know of them
    ),
    CUT_OFF,
    Scenario(
        "sentinel_silent_cut_min_replicas",
        faults.lose_the_master_after_a_silent_cut,
        lease(),
        4,
        servers=pair(*FENCED),
        excused=("duplicates",),  # what was written before the master noticed
    ),
]
THEIRS = [
    Scenario("redbeat_sigkill", faults.kill, RedBeat, 12, ttl=10),
    Scenario("redbeat_sigterm", faults.terminate, RedBeat, 10, ttl=10),
    Scenario("redbeat_sigstop", faults.stop_and_continue, RedBeat, 10),
    Scenario("redbeat_stop_before_write", faults.stop_before_the_write, RedBeat, 12),
    Scenario("redbeat_skew", faults.kill, RedBeat, 6, skews=(0, 2, -2)),
    Scenario("redbeat_freeze", faults.freeze, RedBeat, 5),
    Scenario("redbeat_redis_kill", faults.restart_redis, RedBeat, 5),
]

ALL_BY_TURNS = (
    faults.kill,
    faults.kill_and_hand_back,
    faults.terminate,
    faults.move,
    faults.stop_and_continue,
    faults.stop_before_the_write,
    faults.freeze,
    faults.restart_redis,
)
SHORT = [
    Scenario("by_turns", faults.by_turns(*ALL_BY_TURNS), lease(), len(ALL_BY_TURNS)),
    dataclasses.replace(CUT_OFF, rounds=1),  # Sentinel, the replica cut off
]


@dataclass(frozen=True)
class Outcome:
    """What one scenario has come to."""

    scenario: Scenario
    rounds: int
    failovers: int
    pushes: int
    duplicates: int
    missed: int
    epoch_regressions: int
    crashes: int
    first_publish_p50_s: float | None
    first_publish_p99_s: float | None
    first_publish_max_s: float | None
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.scenario.name

    def as_json(self) -> dict[str, Any]:
        found = {key: value for key, value in vars(self).items() if key not in ("scenario", "trouble")}
        return {"ttl_s": self.scenario.ttl, **found, **({"trouble": self.trouble} if self.trouble else {})}


def run(scenario: Scenario, rounds: int, keep: Path | None = None) -> Outcome:
    """So many rounds of a scenario; logs stay in `keep` where it is given."""
    with tempfile.TemporaryDirectory(prefix="celeryops-beat-") as temporary:
        folder = (keep or Path(temporary)) / scenario.name
        folder.mkdir(parents=True)
        system = scenario.system(scenario.ttl)
        arena = Arena(folder, system, scenario.servers(folder), scenario.skews)
        took: list[float] = []
        trouble = ""
        try:
            with arena:
                for _ in range(rounds):
                    took.append(scenario.strike(arena))
                    arena.calm()
        except (AssertionError, RuntimeError, OSError, RedisError) as error:
            # The other scenarios go on; what was counted so far counts.
            trouble = f"{type(error).__name__}: {error}"
        count = by_slot(arena.pushes) if isinstance(system, Lease) else by_time(arena.pushes)
        return Outcome(
            scenario=scenario,
            rounds=len(took),
            failovers=takeovers(arena.pushes),
            pushes=count.pushes,
            duplicates=count.duplicates,
            missed=count.missed,
            epoch_regressions=arena.epochs.regressions + out_of_order(arena.pushes),
            crashes=arena.crashes,
            **seconds(took),
            trouble=trouble,
        )
