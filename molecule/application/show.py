"""Prints what director's own database says of its workflows and the results of their tasks, as JSON."""

from __future__ import annotations

import json

import director._auto  # noqa: F401  makes the application that the models need
from director.models.workflows import Workflow

found = [
    {
        "workflow": str(workflow),
        "periodic": workflow.periodic,
        "status": workflow.status.value,
        "results": [
            {"task": task.key, "status": task.status.value, "result": task.result} for task in workflow.tasks
        ],
    }
    for workflow in Workflow.query.all()
]
print(json.dumps(found))
