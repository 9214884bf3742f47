"""One logger for the runtime, and the rule that none of its faults reaches the worker."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from celery.utils.log import get_logger
from kombu.utils.url import maybe_sanitize_url

logger = get_logger("celeryops")

F = TypeVar("F", bound=Callable[..., Any])
_reported: set[str] = set()


def harmless(function: F) -> F:
    """Log the first exception of `function` with its traceback, swallow every one.

    A fault of the runtime may cost readiness or a record; it must never cost the user's worker.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            if function.__qualname__ not in _reported:
                _reported.add(function.__qualname__)
                logger.exception(
                    "celeryops: %s failed; the worker carries on without it", function.__qualname__
                )
            return None

    return wrapper  # type: ignore[return-value]


def mask(url: object) -> str:
    """A broker URL, or a list of them joined by ``;``, without its passwords."""
    urls = url if isinstance(url, (list, tuple)) else str(url or "").split(";")
    return ";".join(str(maybe_sanitize_url(str(one))) for one in urls)
