"""How many messages wait in the queues that a worker consumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

SEPARATOR = "\x06\x16"  # between a queue and its priority, as kombu writes it
STEPS = (0, 3, 6, 9)


def keys(queues: Iterable[str], prefix: str, options: Any) -> list[str]:
    """The lists that hold the messages of these queues: one for each step of priority.

    Parameters:
        queues: Names of queues.
        prefix: ``global_keyprefix``.
        options: Celery's ``broker_transport_options``.
    """
    options = options or {}
    steps: Sequence[int] = options.get("priority_steps") or STEPS
    separator = options.get("sep") or SEPARATOR
    return [
        f"{prefix}{queue}{separator}{step}" if step else f"{prefix}{queue}"
        for queue in queues
        for step in steps
    ]


def count(client: Any, names: Sequence[str]) -> int:
    """Messages in all of these lists, in one round trip."""
    if not names:
        return 0
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.llen(name)
    return sum(pipeline.execute())
