"""Remote control of the autoscaler: look at it, and change its limits and guards without a restart."""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, inspect_command

from celeryops.autoscale.settings import SettingsError
from celeryops.log import logger

NO_AUTOSCALER = (
    "this node has no autoscaler of the fleet: it was started without autoscale, by an older release, "
    "or the application sets worker_autoscaler itself"
)


def _scaler(state: Any) -> Any:
    scaler = getattr(state.consumer.controller, "autoscaler", None)
    return scaler if hasattr(scaler, "describe") else None


@control_command()
def fleet_autoscale(state: Any, settings: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Replace limits and guards; with `check` only say whether that can be."""
    scaler = _scaler(state)
    if scaler is None:
        return {"refused": NO_AUTOSCALER}
    before = dict(scaler.given)
    after = {name: value for name, value in settings.items() if value is not None}
    try:
        scaler.check(after)
        if not check and after != before:
            scaler.apply(after)
            logger.warning("celeryops: autoscaler limits %s became %s by remote control", before, after)
    except SettingsError as exc:
        return {"refused": str(exc)}
    return {"before": before, "after": after, "changed": before != after, "state": scaler.describe()}


@inspect_command()
def fleet_autoscale_state(state: Any) -> dict[str, Any]:
    """Limits, guards and the last decision."""
    scaler = _scaler(state)
    return {"refused": NO_AUTOSCALER} if scaler is None else scaler.describe()
