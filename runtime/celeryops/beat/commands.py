"""``celery -A app fleet beat`` and ``python -m celeryops beat ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from celeryops.clitools import (
    answer,
    app_option,
    as_json,
    chosen_app,
    fleet_option,
    open_books,
    speaks_plainly,
)


@speaks_plainly
def show_beat(app: Any, fleet_name: str, in_json: bool) -> None:
    from celeryops.beat import tools

    report = tools.show(open_books(app, fleet_name))
    if in_json:
        answer(report)
    else:
        click.echo(tools.render(report))


@click.command("beat")
@as_json
@fleet_option
@click.pass_context
def fleet_beat(ctx: click.Context, as_json: bool, fleet_name: str) -> None:
    """Show which host has beat's lease, and who stands by."""
    show_beat(ctx.obj.app, fleet_name, as_json)


@click.group("beat")
def beat() -> None:
    """The lease of beat."""


@beat.command("show")
@as_json
@fleet_option
@app_option
def beat_show(as_json: bool, fleet_name: str, app_path: str) -> None:
    """Show which host has the lease, and who stands by."""
    show_beat(chosen_app(app_path), fleet_name, as_json)


@beat.command("place")
@click.option("--mode", type=click.Choice(["pinned", "preferred", "anywhere"]), required=True)
@click.option("--host", default="", help="Inventory name of the host; none for anywhere.")
@as_json
@fleet_option
@app_option
@speaks_plainly
def beat_place(mode: str, host: str, as_json: bool, fleet_name: str, app_path: str) -> None:
    """Say where beat shall run; the one that runs hands over by itself."""
    from celeryops.beat import tools

    if bool(host) == (mode == tools.ANYWHERE):
        raise click.UsageError("--host goes with pinned and preferred, and not with anywhere")
    report = tools.place(open_books(chosen_app(app_path), fleet_name), mode, host)
    if as_json:
        answer(report)
    else:
        click.echo(f"{report['before'] or 'anywhere'} -> {report['after'] or 'anywhere'}")


@beat.command("forget")
@click.option("--host", required=True, help="Inventory name of the host that has left.")
@as_json
@fleet_option
@app_option
@speaks_plainly
def beat_forget(host: str, as_json: bool, fleet_name: str, app_path: str) -> None:
    """Take a host that has left off the candidates; a lease that it holds ends."""
    from celeryops.beat import tools

    report = tools.forget(open_books(chosen_app(app_path), fleet_name), host)
    if as_json:
        answer(report)
    else:
        click.echo("forgotten" if report["changed"] else "nothing was known of it")


@beat.command("handback")
@click.option("--token", "token_file", type=click.Path(path_type=Path), required=True)
@fleet_option
@app_option
def beat_handback(token_file: Path, fleet_name: str, app_path: str) -> None:
    """Give back the lease of a beat that crashed; ends well also when there is nothing to give back."""
    if not token_file.exists():
        return
    from celeryops.beat import tools

    try:
        books = open_books(chosen_app(app_path), fleet_name)
        given = tools.hand_back(books, token_file)
    except Exception as exc:
        # The unit is stopping: this must not turn into a failure of its own.
        click.echo(f"The lease could not be given back, it runs out by itself: {exc}", err=True)
    else:
        click.echo(
            "The lease was given back." if given else "The lease was somebody else's already.", err=True
        )
