from __future__ import annotations

import pytest
from celeryops import pulse


@pytest.mark.parametrize(
    "phase, loop_age, redis_for, expected",
    [
        (pulse.STARTING, 500, None, True),
        (pulse.READY, 0, 10, False),  # its loop feeds
        (pulse.READY, 500, 5000, False),  # its loop hangs
        (pulse.READY, 500, None, True),  # in a send, for Redis is away
        (pulse.READY, 500, 20, True),  # in a send, and Redis is just back
        (pulse.READY, 500, 130, False),  # Redis has been back for long
        (pulse.READY, 70, 100, False),  # Redis was back before the loop stood still
        (pulse.RECONNECTING, 500, None, True),  # Redis is away
        (pulse.RECONNECTING, 500, 20, True),  # Redis is just back
        (pulse.RECONNECTING, 20, 5000, True),  # only this connection broke, a moment ago
        (pulse.RECONNECTING, 500, 500, False),  # Redis is there, the worker does not get at it
        (pulse.STOPPING, 5000, 5000, True),  # long tasks finish; the unit bounds it
    ],
)
def test_may_keep_worker(phase: str, loop_age: float, redis_for: float | None, expected: bool) -> None:
    assert pulse.may_keep_worker(phase, loop_age, redis_for) is expected


def test_stopping_is_final() -> None:
    one = pulse.Pulse()
    one.enter(pulse.STOPPING)
    one.enter(pulse.READY)
    assert one.phase == pulse.STOPPING
