"""Tasks of a celery-director project. Each result names the node that worked it out."""

from __future__ import annotations

from typing import Any

from director import task


@task(name="COUNT", bind=True)
def count(self: Any, *_: Any, payload: dict[str, Any], **__: Any) -> dict[str, Any]:
    return {"sum": payload.get("pieces", 1), "node": self.request.hostname}


@task(name="ADD_UP", bind=True)
def add_up(self: Any, counts: Any, **_: Any) -> dict[str, Any]:
    found = counts if isinstance(counts, list) else [counts]
    return {"sum": sum(one["sum"] for one in found), "node": self.request.hostname}
