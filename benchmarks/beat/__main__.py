#!/usr/bin/env python3
"""What does beat do when things fail?

Three candidates, ten entries at one second, and a consumer that counts every push by entry and slot; one
fault after the other, and RedBeat under the same. What beat costs when nothing fails is measured against
Celery's own scheduler.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.beat import cost, report
from benchmarks.beat.scenarios import OURS, SHORT, THEIRS, Outcome, Scenario, run

LANES = 3  # fleets side by side: they mostly wait


def run_all(plan: Sequence[tuple[Scenario, int]], lanes: int, keep: Path | None = None) -> list[Outcome]:
    """All of them, so many at a time, the longest first."""
    ahead = sorted(plan, key=lambda one: one[1] * one[0].ttl, reverse=True)
    with ThreadPoolExecutor(lanes) as pool:
        waiting = {one.name: pool.submit(run, one, rounds, keep) for one, rounds in ahead}
        outcomes = []
        for one, _ in plan:
            outcomes.append(waiting[one.name].result())
            print(f"{one.name}: {outcomes[-1].as_json()}", file=sys.stderr, flush=True)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beat", description=__doc__)
    parser.add_argument("--short", action="store_true", help="each of the main faults once, in a minute")
    parser.add_argument("--only", action="append", metavar="FAULT", help="this fault; repeatable")
    parser.add_argument("--rounds", type=int, help="so many of each, instead of what the plan says")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"fleets side by side (default: {LANES})")
    parser.add_argument("--keep", type=Path, help="a new folder for the logs of all processes")
    options = parser.parse_args()

    names = [one.name for one in OURS + THEIRS]
    if unknown := sorted(set(options.only or []) - set(names)):
        parser.error(f"there is no fault {', '.join(unknown)}; there are {', '.join(names)}")
    plan = [
        (one, options.rounds or one.rounds)
        for one in (SHORT if options.short else OURS + THEIRS)
        if not options.only or one.name in options.only
    ]
    whole = not (options.only or options.short or options.rounds)
    costs = cost.measure() if whole else {}
    outcomes = run_all(plan, options.lanes, options.keep)
    report.show(outcomes, costs)
    if whole:
        with tempfile.TemporaryDirectory() as folder:
            versions = report.versions(Path(folder))
        report.write({**versions, **report.summary(outcomes), **costs})
        print(f"written to {report.RESULTS}")


if __name__ == "__main__":
    main()
