from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.units import (
    UnitError,
    parse_bytes,
    parse_seconds,
)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("400MB", 400_000_000),
        ("400 MB", 400_000_000),
        ("1.5GiB", 1_610_612_736),
        ("12KiB", 12_288),
        ("7B", 7),
        ("0.1MB", 100_000),
        (0, 0),
        ("0", 0),
    ],
)
def test_sizes(value: Any, expected: int) -> None:
    assert parse_bytes(value) == expected


@pytest.mark.parametrize(
    "value, expected",
    [
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("1h30m", 5400),
        ("1d 2h", 93_600),
        ("1.5h", 5400),
        ("250ms", 0.25),
        (0, 0),
    ],
)
def test_durations(value: Any, expected: float) -> None:
    assert parse_seconds(value) == expected


def test_whole_seconds_are_integers() -> None:
    assert isinstance(parse_seconds("0.5m"), int)


@pytest.mark.parametrize("value", [400, "400", 4.5, "4.5"])
def test_a_number_without_a_unit_is_refused_with_the_remedy(value: Any) -> None:
    for parse, remedy in ((parse_bytes, "400MB"), (parse_seconds, "30m")):
        with pytest.raises(UnitError, match=rf"has no unit.*{remedy}"):
            parse(value)


@pytest.mark.parametrize("value", ["400M", "2g"])
def test_a_size_that_leaves_open_which_thousand_is_refused(value: str) -> None:
    with pytest.raises(UnitError, match=r"Write .*B \(thousands\) or .*iB \(1024s\)"):
        parse_bytes(value)


@pytest.mark.parametrize(
    "value", ["30q", "m30", "30m1h", "30m30m", "1h 30", "-5m", "", True, None, [], "1h,30m"]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(UnitError):
        parse_seconds(value)


@pytest.mark.parametrize("value", ["MB", "1,5GB", "-1GB", "4 PB", "1GB2MB", "", False, None, {}])
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(UnitError):
        parse_bytes(value)
