#!/usr/bin/env python3
"""What does the fleet's autoscaler cost, and what does it save? Beside Celery's own, in the same run.

Real workers on a private Redis. What is measured, and what each figure means, stands in README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "runtime")]

from autoscaler_fleet import MB, STOCK, Fleet, until  # noqa: E402
from memory_limit import limited  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "autoscaler.json"
MOST, FEW = 8, 3  # processes
WINDOW = 5  # s, of the idle window of either autoscaler
BALLAST = 200 * MB  # of an application that is no toy
#: Twice the memory there is: as many tasks at once as there may be processes, 150 MB each, and 600 MB.
LIMIT, TASK, TASKS = 600 * MB, 150 * MB, 40
# What other programs on this machine do must not decide how fast a worker grows.
CALM = {"load_per_cpu": 0, "psi_memory": 0, "psi_io": 0, "idle": WINDOW}

Figures = dict[str, Any]


def burst(fleet: Fleet, stock: bool) -> tuple[float, float, float]:
    """Seconds from one process to all, seconds from the last task's end to one, longest block in ms."""
    worker = fleet.worker(stock, 1, MOST, guards=CALM, BENCH_BALLAST=str(BALLAST))
    try:
        worker.probe("reset")
        began = time.perf_counter()
        worker.send("nap", 60, 0.5)
        until(lambda: worker.processes() == MOST, "it grew to its most", 60, step=0.002)
        grew = time.perf_counter() - began
        block = worker.probe("read")["loop_block_ms"]
        until(lambda: worker.done() == 60, "every task ended", 60, step=0.01)
        ended = time.perf_counter()
        until(lambda: worker.processes() == 1, "it shrank", 120, step=0.01)
        return grew, time.perf_counter() - ended, block
    finally:
        worker.stop()


def pressure(fleet: Fleet, stock: bool, prefix: list[str] | None) -> tuple[int, float]:
    """How many of the tasks never ended, and the most memory that was taken, as a share of what there is."""
    guards: Figures = {**CALM, "child_memory": TASK + 20 * MB, "memory_reserve": LIMIT // 12}
    if prefix is None:
        # No limit: all but as much is kept in reserve, and who takes more would have been killed.
        guards["memory_reserve"] = max(fleet.available() - LIMIT, 0)
    worker = fleet.worker(
        stock, 1, MOST, guards, prefix or [], {"task_acks_late": False, "task_retry_on_worker_lost": False}
    )
    try:
        most = 0
        worker.send("fill", TASKS, TASK, 1.0)
        quiet = time.monotonic()
        while worker.done() < TASKS and time.monotonic() - quiet < 10:
            most = max(most, worker.private_bytes())
            if worker.waiting() or worker.active():
                quiet = time.monotonic()
            time.sleep(0.2)
        return TASKS - worker.done(), most / LIMIT
    finally:
        worker.stop()


def shrink(fleet: Fleet, stock: bool, late: bool, seconds: float) -> tuple[int, int]:
    """Tasks sent and tasks lost while the limits go up and down under traffic."""
    settings = {"task_acks_late": late, "task_retry_on_worker_lost": False}
    worker = fleet.worker(stock, MOST, MOST, {**CALM, "grow_step": MOST}, settings=settings)
    try:
        sent, narrow, turn = 0, False, time.monotonic()
        end = turn + seconds
        while (now := time.monotonic()) < end:
            if now >= turn:
                narrow, turn = not narrow, turn + 0.4
                worker.limits(*((FEW, FEW) if narrow else (MOST, MOST)))
            if worker.waiting() < 100:
                worker.send("nap", 50, 0.01)
                sent += 50
            time.sleep(0.02)
        worker.limits(MOST, MOST)
        until(lambda: not worker.waiting() and not worker.active(), "what was sent is taken", 120)
        return sent, sent - worker.done()
    finally:
        worker.stop()


def ticks(fleet: Fleet, stock: bool, seconds: float) -> Figures:
    """The probes' figures of a worker with all its processes at work."""
    worker = fleet.worker(stock, MOST, MOST, guards=CALM)
    try:
        worker.probe("ticks")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if worker.waiting() < 100:
                worker.send("nap", 50, 0.1)
            time.sleep(0.1)
        return worker.probe("read")
    finally:
        worker.stop()


def throughput(fleet: Fleet, rounds: int, tasks: int) -> float:
    """Tasks a second with the runtime over those without it: medians of rounds that take turns."""
    workers = fleet.worker(False, 2, 2, guards=CALM), fleet.bare_worker(2)
    rates: tuple[list[float], list[float]] = ([], [])
    try:
        for worker in workers:
            worker.drain("noop", tasks // 4)  # to warm up
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                rates[which].append(tasks / workers[which].drain("noop", tasks))
        for name, found in zip(("with the runtime", "without"), rates, strict=True):
            print(f"tasks a second {name}:", *(round(rate) for rate in found), flush=True)
        return statistics.median(rates[0]) / statistics.median(rates[1])
    finally:
        for worker in workers:
            worker.stop()


def both(measure: Callable[[bool], Any], what: str) -> tuple[Any, Any]:
    found = tuple(measure(stock) for stock in (False, STOCK))
    print(f"{what}: {found[0]}, stock {found[1]}", flush=True)
    return found[0], found[1]


def measure(fleet: Fleet, options: argparse.Namespace) -> Figures:
    bursts = [both(lambda stock: burst(fleet, stock), "burst, idle, block") for _ in range(options.runs)]
    ours, stock = [[run[which] for run in bursts] for which in (0, 1)]

    def median(runs: list[Any], column: int) -> float:
        return statistics.median(run[column] for run in runs)

    with limited(LIMIT) as prefix:
        if prefix is None:
            print("This machine lets nobody set a limit of memory: stock is judged by what it takes.")
        pressed, stock_pressed = both(lambda stock: pressure(fleet, stock, prefix), "pressure")
    early, stock_early = both(lambda stock: shrink(fleet, stock, False, options.seconds), "shrink")
    late, stock_late = both(lambda stock: shrink(fleet, stock, True, options.seconds), "shrink, late")
    tick, stock_tick = both(lambda stock: ticks(fleet, stock, options.seconds / 3), "ticks")
    return {
        "burst_ratio": median(ours, 0) / median(stock, 0),
        "stock_burst_s": median(stock, 0),
        "idle_shrink_s": median(ours, 1),
        "stock_idle_shrink_s": median(stock, 1),
        "shrink_sent": min(early[0], late[0]),
        "stock_shrink_sent": min(stock_early[0], stock_late[0]),
        "shrink_lost": early[1],
        "stock_shrink_lost": stock_early[1],
        "shrink_lost_late": late[1],
        "stock_shrink_lost_late": stock_late[1],
        "pressure_sent": TASKS,
        "pressure_lost": pressed[0],
        "stock_pressure_lost": stock_pressed[0] if prefix else None,
        "stock_pressure_most": stock_pressed[1],
        "decide_us_p50": tick["decide_us_p50"],
        "tick_us_p99": tick["tick_us_p99"],
        "stock_tick_us_p99": stock_tick["tick_us_p99"],
        "loop_block_ms_max": max(run[2] for run in ours),
        "stock_loop_block_ms_max": max(run[2] for run in stock),
        "throughput_ratio": throughput(fleet, options.rounds, options.tasks),
    }


def show(figures: Figures) -> None:
    print(f"\n{'':<22}{'ours':>12}{'stock':>12}")
    names = [name for name in figures if not name.startswith("stock_")]
    names += [name.removeprefix("stock_") for name in figures if name.removeprefix("stock_") not in names]
    for name in dict.fromkeys(names):
        cells = (figures.get(key, "") for key in (name, f"stock_{name}"))
        print(f"{name:<22}" + "".join(f"{'' if cell is None else cell:>12}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="bursts of each kind (default: 5)")
    parser.add_argument("--seconds", type=float, default=60, help="of traffic for each kind (default: 60)")
    parser.add_argument("--rounds", type=int, default=7, help="of no-op tasks for each kind (default: 7)")
    parser.add_argument("--tasks", type=int, default=10_000, help="in each round (default: 10000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        try:
            figures, versions = measure(fleet, options), fleet.versions()
        finally:
            fleet.stop()
    rounded = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()
    }
    show(rounded)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**rounded, "machine": {**machine, **versions}}, indent=2) + "\n")
    print(f"written to {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
