"""Fewer children without losing a task: only those go to which nothing was sent, not even in part."""

from __future__ import annotations

from typing import Any


def idle_children(pool: Any) -> list[Any]:
    """Children of a prefork pool that have nothing to do and nothing on its way to them.

    The pool's own `shrink` knows only the jobs which a child has accepted. A job that is written to a child's
    pipe, or chosen for it, would die with it.

    Parameters:
        pool: Celery's ``AsynPool``.
    """
    bound = set()
    for job in list(pool._cache.values()):
        bound.update(job.worker_pids())
        bound.update(one.pid for one in (job._write_to, job._scheduled_for) if one is not None)
    occupied = pool._busy_workers | pool._active_writes
    return [
        child
        for child in pool._pool
        if child.pid not in bound
        and child.inqW_fd in pool._all_inqueues
        and child.inqW_fd not in occupied
        and child.synqW_fd not in pool._active_writes
        and child._is_alive()
        and not child._controlled_termination
    ]


def shrink(pool: Any, count: int, hub: Any) -> int:
    """End up to so many idle children; how many were found.

    Runs in the event loop, so nothing is sent to a child between the look and the signal.
    """
    chosen = idle_children(pool)[-count:]
    for child in chosen:
        # From here on the pool writes nothing to it.
        pool._all_inqueues.discard(child.inqW_fd)
        hub.remove_writer(child.inqW_fd)
        pool._processes -= 1
        if pool._putlock:
            pool._putlock.shrink()
        child.terminate_controlled()
        pool.on_shrink(1)
    return len(chosen)
