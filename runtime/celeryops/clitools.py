"""What the commands share: options, answers, and how they come to an application and to its books."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from celeryops.identity import Identity

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
fleet_option = click.option(
    "--fleet",
    "fleet_name",
    default=lambda: Identity.from_env().fleet,
    help="Name of the fleet. Default: CELERYOPS_FLEET.",
)
app_option = click.option(
    "-A", "--app", "app_path", default="", help="Import this application for its settings."
)


def speaks_plainly(function: F) -> F:
    """Turn an unreachable or refusing Redis into one line instead of a traceback."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        # Celery loads this module for every command of its own: what is slow to import waits for its use.
        from kombu.exceptions import OperationalError
        from redis import RedisError

        from celeryops.redisclient import NotRedisError

        try:
            return function(*args, **kwargs)
        except NotRedisError as exc:
            raise click.ClickException(str(exc)) from exc
        except (RedisError, OperationalError, OSError) as exc:
            raise click.ClickException(
                f"Redis does not answer as it should: {exc}. Is it running, and does the broker URL "
                "name its address, password and database?"
            ) from exc

    return wrapper  # type: ignore[return-value]


def answer(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def bare_app() -> Any:
    """An application that knows the broker and the inventory's settings, without the user's code."""
    from celery import Celery

    if not os.environ.get("CELERY_BROKER_URL"):
        raise click.ClickException(
            "CELERY_BROKER_URL is not set: load the environment file of the fleet, "
            "or name the application with -A"
        )
    return Celery("celeryops", loader="celeryops.loader:FleetLoader", fixups=[], set_as_current=False)


def find_app(path: str) -> Any:
    from celery.app.utils import find_app as find

    sys.path.insert(0, os.getcwd())
    return find(path)


def chosen_app(path: str) -> Any:
    """The application of that path, or the one without the user's code where there is none."""
    return find_app(path) if path else bare_app()


def open_books(app: Any, fleet_name: str) -> Any:
    from celeryops.books import Books

    return Books.open(app, fleet_name)
