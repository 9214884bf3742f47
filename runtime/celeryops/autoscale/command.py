"""``celery fleet autoscale``: tell nodes their limits, or ask for them, and wait for every answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def ask(
    app: Any, nodes: Sequence[str], settings: dict[str, Any] | None, check: bool, timeout: float
) -> dict[str, Any]:
    """One broadcast; returns as soon as all have answered.

    Parameters:
        nodes: Full node names.
        settings: Limits and guards in base units; None to ask only.
        check: Only ask whether they could be.
        timeout: Seconds to wait.

    Returns:
        ``{"nodes": {node: answer}, "errors": {node: text}, "silent": [node]}``.
    """
    command = "fleet_autoscale_state" if settings is None else "fleet_autoscale"
    arguments = {} if settings is None else {"settings": settings, "check": check}
    replies = app.control.broadcast(
        command, arguments, destination=list(nodes), reply=True, timeout=timeout, limit=len(nodes)
    )
    answers: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for reply in replies or []:
        for node, answer in reply.items():
            if isinstance(answer, dict) and "refused" not in answer and "error" not in answer:
                answers[node] = answer
            else:
                errors[node] = _reason(answer)
    return {
        "nodes": answers,
        "errors": errors,
        "silent": [node for node in nodes if node not in answers and node not in errors],
    }


def _reason(answer: Any) -> str:
    if isinstance(answer, dict):
        if "refused" in answer:
            return str(answer["refused"])
        # Celery's own word for a command that it does not know, or that failed.
        return f"the node runs a release without this command: {answer.get('error', answer)}"
    return str(answer)
