"""The counting itself: a benchmark that cannot see a duplicate proves nothing."""

from __future__ import annotations

import pytest

from benchmarks.beat.consumer import Push
from benchmarks.beat.counting import Count, by_slot, by_time, out_of_order, quantile, takeovers


def push(slot: float, entry: str = "a", pid: int = 1, epoch: int = 1, at: float | None = None) -> Push:
    return Push(slot if at is None else at, entry, f"{entry}-{slot}", "tag", pid, slot, epoch)


@pytest.mark.parametrize(
    "slots, expected",
    [
        pytest.param([1, 2, 3], Count(3, 0, 0), id="each once"),
        pytest.param([1, 2, 2, 3], Count(4, 1, 0), id="one twice"),
        pytest.param([1, 4], Count(2, 0, 2), id="two never"),
        pytest.param([1, 4, 4], Count(3, 1, 2), id="a duplicate makes up for no missed slot"),
        pytest.param([3, 1, 2], Count(3, 0, 0), id="late, but there"),
    ],
)
def test_counts_by_slot(slots: list[float], expected: Count) -> None:
    assert by_slot([push(slot) for slot in slots]) == expected


def test_entries_are_counted_apart() -> None:
    assert by_slot([push(1), push(1, "b"), push(2), push(2, "b")]) == Count(4, 0, 0)


def test_a_crontab_is_counted_for_duplicates_only() -> None:
    assert by_slot([push(60, "crontab"), push(180, "crontab"), push(180, "crontab")]) == Count(3, 1, 0)


@pytest.mark.parametrize(
    "times, expected",
    [
        pytest.param([0.0, 1.0, 2.02], Count(3, 0, 0), id="each once"),
        pytest.param([0.0, 1.0, 1.1, 2.0], Count(4, 1, 0), id="one twice"),
        pytest.param([0.0, 4.0], Count(2, 0, 3), id="three never"),
    ],
)
def test_counts_by_time(times: list[float], expected: Count) -> None:
    assert by_time([push(0, at=time) for time in times]) == expected


def test_an_older_epoch_after_a_newer_one_is_out_of_order() -> None:
    assert out_of_order([push(1, epoch=1), push(2, epoch=2), push(3, epoch=1), push(4, epoch=2)]) == 1


def test_takeovers() -> None:
    assert takeovers([push(1), push(2), push(3, pid=2, epoch=2), push(4, pid=2, epoch=3), push(5)]) == 2
    assert takeovers([]) == 0


def test_p99_of_few_is_the_largest() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([], 0.99) is None


def test_of_a_hundred_one_is_above_p99() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50.0, 99.0, 100.0)
