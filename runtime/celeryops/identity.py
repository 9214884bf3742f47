"""Who this process is, as its environment files tell it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Place and version of one process of the fleet.

    Parameters:
        fleet: Name of the fleet; it is part of every key in Redis.
        release: Version of the application that runs.
        host: Inventory name of the host.
        pool: Name of the worker pool, empty for beat and for tools.
        node: Local name of the node, e.g. ``default-1``.
        fingerprint: Hash over release and settings that the deploy expects to find running.
    """

    fleet: str = "default"
    release: str = ""
    host: str = ""
    pool: str = ""
    node: str = ""
    fingerprint: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Identity:
        env = os.environ if environ is None else environ
        return cls(
            fleet=env.get("CELERYOPS_FLEET") or "default",
            release=env.get("CELERYOPS_RELEASE", ""),
            host=env.get("CELERYOPS_HOST") or socket.gethostname(),
            pool=env.get("CELERYOPS_POOL", ""),
            node=env.get("CELERYOPS_NODE", ""),
            fingerprint=env.get("CELERYOPS_FINGERPRINT", ""),
        )
