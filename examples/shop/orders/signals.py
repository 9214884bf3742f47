"""What Celery's signals let an application see. Every receiver leaves a row behind."""

import os

from celery.signals import task_prerun, task_success, worker_init
from django.db import connection

from .models import Event


@worker_init.connect
def worker_started(sender, **kwargs):
    """Runs once in the worker's main process, before it forks."""
    Event.objects.create(kind="worker_init", subject=str(os.getpid()), node=sender.hostname)
    # An SQLite connection must not be carried into the forked pool processes.
    connection.close()


@task_prerun.connect
def task_starts(task_id, task, **kwargs):
    """Runs in the pool process, before every attempt."""
    Event.objects.create(kind="task_prerun", subject=task_id, node=task.request.hostname or "")


@task_success.connect
def task_succeeded(sender, **kwargs):
    """Runs in the pool process, after the result was stored."""
    Event.objects.create(kind="task_success", subject=sender.request.id, node=sender.request.hostname or "")
