"""Waits until director's workflows have ended, and beat has started some too.

Prints what director's own database says of them and of the results of their tasks, as JSON.
"""

from __future__ import annotations

import json
import time
from typing import Any

import director._auto  # noqa: F401  makes the application that the models need
from director.models.workflows import Workflow

SECONDS = 60


def found() -> list[dict[str, Any]]:
    Workflow.query.session.rollback()  # what others have written since the last look
    return [
        {
            "workflow": str(workflow),
            "periodic": workflow.periodic,
            "status": workflow.status.value,
            "results": [
                {"task": task.key, "status": task.status.value, "result": task.result}
                for task in workflow.tasks
            ],
        }
        for workflow in Workflow.query.all()
    ]


def ended(workflows: list[dict[str, Any]]) -> bool:
    started = {one["status"] for one in workflows if not one["periodic"]}
    ticks = [one for one in workflows if one["periodic"] and one["status"] == "success"]
    return started == {"success"} and len(ticks) > 1


until = time.monotonic() + SECONDS
while not ended(workflows := found()) and time.monotonic() < until:
    time.sleep(0.5)
print(json.dumps({"ended": ended(workflows), "workflows": workflows}))
