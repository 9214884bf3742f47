from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.clocks import clock_problems, measure


def test_what_the_way_took_is_uncertainty() -> None:
    # The host's clock is 100 s ahead; 0.4 s to get there, 2 s of work, 0.2 s back.
    clock = measure(sent=1000, began=1100.4, ended=1102.4, came=1002.6)
    assert clock == {"ahead": 100.1, "uncertainty": 0.3}


def test_a_clock_that_was_set_meanwhile_still_has_a_measure() -> None:
    assert measure(sent=1000, began=1000, ended=1009, came=1001)["uncertainty"] >= 0


def clocks(**ahead: float) -> dict[str, dict[str, float]]:
    return {host: {"ahead": value, "uncertainty": 0.5} for host, value in ahead.items()}


@pytest.mark.parametrize("found", [{}, clocks(w1=900), clocks(w1=-1, w2=4), clocks(w1=0, w2=5.9)])
def test_clocks_that_agree_as_far_as_can_be_told(found: dict[str, dict[str, float]]) -> None:
    assert clock_problems(found, 5) == []


def test_the_one_that_differs_is_named() -> None:
    (problem,) = clock_problems(clocks(w1=30, w2=31, w3=-60), 5)
    assert "at least 90.0 s apart" in problem
    assert "w3 60.0 s behind (give or take 0.5 s)" in problem
    assert "w1" not in problem
    assert "celery_clock_tolerance is 5 s" in problem
    assert "NTP" in problem


def test_of_two_both_are_named() -> None:
    (problem,) = clock_problems(clocks(w1=0, w2=61), 5)
    assert "w1 0.0 s ahead" in problem
    assert "w2 61.0 s ahead" in problem


def test_of_many_some_are_named() -> None:
    found = {f"w{number}": {"ahead": number * 100, "uncertainty": 0} for number in range(21)}
    (problem,) = clock_problems(found, 5)
    assert problem.count("ahead") == 8
    assert "and 12 more" in problem
