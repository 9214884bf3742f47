"""An autoscaler that knows the machine: `ResourceAutoscaler`, for Celery's ``worker_autoscaler``."""

from celeryops.autoscale import remote
from celeryops.autoscale.scaler import ResourceAutoscaler

__all__ = ["ResourceAutoscaler", "remote"]
