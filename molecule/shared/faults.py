"""Faults on request: loaded into workers by --include, called by app.control.broadcast."""

from __future__ import annotations

import time
from typing import Any

from celery.worker.control import control_command


@control_command(args=[("seconds", float)], signature="SECONDS")
def block_event_loop(state: Any, seconds: float) -> dict[str, float]:
    """Remote commands run in the event loop, which turns again only after so many seconds."""
    time.sleep(seconds)
    return {"ok": seconds}
