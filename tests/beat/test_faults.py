"""The short run of `make bench-beat`: what may not happen, whatever does."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.beat.__main__ import run_all
from benchmarks.beat.scenarios import SHORT

NAMES = [scenario.name for scenario in SHORT]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    plan = [(scenario, scenario.rounds) for scenario in SHORT]
    return {outcome.name: outcome for outcome in run_all(plan, len(plan))}


@pytest.mark.parametrize("name", NAMES)
def test_every_slot_is_sent_once_whatever_fails(outcomes: dict[str, Any], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.trouble
    assert outcome.duplicates == 0
    assert outcome.missed == 0
    assert outcome.epoch_regressions == 0
    assert outcome.crashes == 0
    assert outcome.pushes > 50  # else nothing is proved


def test_another_candidate_took_over_each_time(outcomes: dict[str, Any]) -> None:
    # Killed, killed and handed back, terminated, moved, stopped twice: six of the eight need another one.
    assert outcomes["by_turns"].failovers >= 6
