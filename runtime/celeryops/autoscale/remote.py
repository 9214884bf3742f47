"""Remote control of the autoscaler: look at it, and change its limits and guards without a restart."""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, inspect_command

from celeryops.autoscale.settings import SettingsError, parse
from celeryops.log import logger

NO_AUTOSCALER = "this node was started without autoscale, or by a release whose runtime has no autoscaler"


def _scaler(state: Any) -> Any:
    return getattr(state.consumer.controller, "autoscaler", None)


@control_command()
def fleet_autoscale(state: Any, settings: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Replace limits and guards; with `check` only say whether that can be."""
    scaler = _scaler(state)
    if scaler is None:
        return {"refused": NO_AUTOSCALER}
    after = {name: value for name, value in settings.items() if value is not None}
    try:
        apply = _apply if hasattr(scaler, "describe") else _apply_to_foreign
        before = apply(scaler, state.consumer.controller, after, check)
    except SettingsError as exc:
        return {"refused": str(exc)}
    if before != after and not check:
        logger.warning("celeryops: autoscaler limits %s became %s by remote control", before, after)
    return {"before": before, "after": after, "changed": before != after, "state": _state(scaler)}


@inspect_command()
def fleet_autoscale_state(state: Any) -> dict[str, Any]:
    """Limits, guards and the last decision."""
    scaler = _scaler(state)
    return {"refused": NO_AUTOSCALER} if scaler is None else _state(scaler)


def _apply(scaler: Any, worker: Any, after: dict[str, Any], check: bool) -> dict[str, Any]:
    before = dict(scaler.given)
    scaler.check(after)
    if not check and after != before:
        scaler.apply(after)
    return before


def _apply_to_foreign(scaler: Any, worker: Any, after: dict[str, Any], check: bool) -> dict[str, Any]:
    """An application that sets ``worker_autoscaler`` keeps its own, which knows two limits and no guards."""
    limits, _ = parse(after)
    guards = [name for name in after if name not in ("min", "max")]
    if guards:
        raise SettingsError(
            f"the application sets worker_autoscaler to {type(scaler).__module__}:{type(scaler).__name__}, "
            f"which knows no {', '.join(guards)}: take them out of autoscale, or that setting out of the "
            "application"
        )
    before = {"min": scaler.min_concurrency, "max": scaler.max_concurrency}
    if not check and after != before:
        scaler.update(limits.max, limits.min)
        if worker.celeryops is not None:
            worker.celeryops.publish()
    return before


def _state(scaler: Any) -> dict[str, Any]:
    if hasattr(scaler, "describe"):
        return dict(scaler.describe())
    return {
        "min": scaler.min_concurrency,
        "max": scaler.max_concurrency,
        "reason": "unknown",
        "text": f"the application's own autoscaler, {type(scaler).__name__}, does not say",
    }
