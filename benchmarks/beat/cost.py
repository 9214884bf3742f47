"""What the fence costs: time from publish to publish of a busy beat, against Celery's own scheduler."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.beat.candidates import Candidate, Lease, surroundings
from benchmarks.beat.counting import quantile
from benchmarks.beat.servers import Single
from tests.support.waiting import until

MANY = 10_000
PUBLISHES = 3000
FEW_PUBLISHES = 200  # Celery's scheduler compares all entries at each tick
TURNS = 3
BUSY = {"BENCH_PERIOD": "0.001", "BENCH_ENOUGH": str(PUBLISHES)}  # more is due than can be sent
ALL_DUE = {"BENCH_ENTRIES": str(MANY), "BENCH_PERIOD": "3600", "BENCH_OVERDUE": "7200"}
_PROMOTED = re.compile(r"sends from now on, epoch \d+ \(([\d.]+) s\)")


class Stock:
    """Celery's own scheduler; one process of it."""

    def candidate(self, folder: Path, host: str, servers: Single, skew: int) -> Candidate:
        return Candidate(folder, host, ["-S", "celery.beat:Scheduler"], surroundings(folder, servers, skew))


def between(beat: Candidate, folder: Path) -> list[float]:
    """Start it, and wait until it has sent enough: the seconds from one publish to the next."""
    stamps = folder / f"stamps-{beat.host}"
    beat.environment["BENCH_STAMPS"] = str(stamps)
    beat.start()
    until(stamps.exists, f"{beat.host} has sent enough", 300)
    return list(json.loads(stamps.read_text()))


def publish_cost(folder: Path) -> dict[str, Any]:
    """Both by turns, so that what else the machine does falls on both."""
    found: dict[str, list[float]] = {"stock": [], "lease": []}
    for turn in range(TURNS):
        for name, system in (("stock", Stock()), ("lease", Lease(catch_up="coalesce"))):
            place = folder / f"{name}-{turn}"
            servers = Single(place)
            servers.start()
            beat = system.candidate(place / "host", name, servers, 0)
            beat.environment.update(BUSY)
            try:
                found[name] += between(beat, place)
            finally:
                beat.end()
                servers.stop()
    us = {name: [value * 1e6 for value in values] for name, values in found.items()}
    return {
        "publish_cost_us": round(statistics.median(us["lease"]) - statistics.median(us["stock"]), 1),
        **{
            f"publish_{name}_{label}_us": round(quantile(values, share) or 0, 1)
            for name, values in us.items()
            for label, share in (("p50", 0.5), ("p99", 0.99))
        },
    }


def many_entries(folder: Path) -> dict[str, Any]:
    """Ten thousand entries: how long a takeover reads them, and a tick that sends one of them."""
    found: dict[str, Any] = {}
    servers = Single(folder)
    servers.start()
    beats: list[Candidate] = []
    try:
        for name, system in (("stock", Stock()), ("first", Lease()), ("second", Lease())):
            beat = system.candidate(folder / name, name, servers, 0)
            beats.append(beat)
            beat.environment.update(ALL_DUE, BENCH_ENOUGH=str(FEW_PUBLISHES))
            ticks = between(beat, folder)
            if name == "stock":
                found["tick_10k_stock_ms"] = round(statistics.median(ticks) * 1000, 3)
            else:
                found["tick_10k_ms"] = round(statistics.median(ticks) * 1000, 3)
                # The first has written the ledger, the second has found it, as a takeover does.
                key = "promote_10k_empty_s" if name == "first" else "promote_10k_s"
                found[key] = max(float(seconds) for seconds in _PROMOTED.findall(beat.log()))
            beat.terminate()
    finally:
        for beat in beats:
            beat.end()
        servers.stop()
    return found


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="celeryops-beat-cost-") as folder:
        return {**publish_cost(Path(folder) / "few"), **many_entries(Path(folder) / "many")}
