"""Beat on exactly one host: `LeaseScheduler`, for ``celery beat -S celeryops.beat:LeaseScheduler``.

Every candidate host runs beat. One holds a lease in Redis and sends; the others stand by. What makes a slot
of an
entry be sent at most once is not the lease but the step that sends it: one script in Redis checks the lease,
compares and swaps the entry's line in the ledger, and pushes the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryops.beat.scheduler import LeaseScheduler

__all__ = ["LeaseScheduler"]


def __getattr__(name: str) -> Any:
    # Who gives a lease back after a crash is in a hurry, and has no use for Celery's beat.
    if name == "LeaseScheduler":
        from celeryops.beat.scheduler import LeaseScheduler

        return LeaseScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
