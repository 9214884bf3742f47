"""How many messages a worker takes from Redis: as many as it has processes for, not as it might have."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from celeryops.log import harmless


class AttachStep(bootsteps.StartStopStep):
    """Shows each new connection to the autoscaler, after Celery's own gate stands."""

    requires = (Tasks,)

    @harmless
    def start(self, consumer: Any) -> None:
        consumer.controller.autoscaler.attach(consumer)


def install(consumer: Any, limit: Callable[[], int]) -> None:
    """Put the gate before the consumer's channel; to be done for each new connection.

    A node that is held back would else reserve for the processes that it is not allowed to have, and its
    messages would wait while another node is idle. Celery's own gate, from 5.6 on, goes by the most
    processes that there may ever be; this one stands before it.

    Parameters:
        consumer: Celery's consumer, connected.
        limit: The most messages that may be reserved.
    """
    qos = consumer.task_consumer.channel.qos
    behind = qos.can_consume

    def can_consume(self: Any) -> bool:
        return len(state.reserved_requests) < limit() and bool(behind())

    qos.can_consume = MethodType(can_consume, qos)
