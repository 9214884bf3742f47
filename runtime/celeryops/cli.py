"""``celery -A app fleet ...`` and ``python -m celeryops ...``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from celeryops.beat import commands as beat
from celeryops.clitools import (
    answer,
    app_option,
    as_json,
    chosen_app,
    find_app,
    fleet_option,
    open_books,
    speaks_plainly,
)
from celeryops.identity import Identity


@speaks_plainly
def show_status(app: Any, fleet_name: str, in_json: bool) -> None:
    report = open_books(app, fleet_name).read()
    if in_json:
        answer(report)
    else:
        from celeryops.status import render

        click.echo(render(report))


@speaks_plainly
def show_canary(app: Any, fleet_name: str, queues: tuple[str, ...], timeout: float, in_json: bool) -> None:
    from celeryops.canary import send_canaries

    # Django must be set up before Celery may touch a result backend that lives in its database.
    app.loader.import_default_modules()
    report = send_canaries(app, open_books(app, fleet_name), list(queues), timeout)
    if in_json:
        answer(report)
    else:
        for queue, result in report["queues"].items():
            text = f"{result['node']} in {result['seconds']:.2f} s" if result["ok"] else result["error"]
            click.echo(f"{queue}: {text}")
    sys.exit(0 if report["ok"] else 1)


def show_check(app: Any, in_json: bool) -> None:
    from celeryops.check import check

    report = check(app)
    if in_json:
        answer(report)
    else:
        click.echo(
            f"{report['app']} on Celery {report['celery']}, Python {report['python']}, {report['broker']}"
        )
        click.echo(f"{len(report['tasks'])} tasks, queues {', '.join(report['queues'])}")
        for item in report["settings"]:
            click.echo(f"  {item['setting']} = {item['value']!r}  ({item['source']}: {item['why']})")
        for severity in ("warnings", "errors"):
            for text in report[severity]:
                click.echo(f"{severity[:-1]}: {text}", err=True)
    sys.exit(0 if report["ok"] else 1)


# The group below joins Celery's own command line; the application is Celery's -A.


@click.group()
def fleet() -> None:
    """The fleet of this application."""


fleet.add_command(beat.fleet_beat)


@fleet.command("status")
@as_json
@fleet_option
@click.pass_context
def fleet_status(ctx: click.Context, as_json: bool, fleet_name: str) -> None:
    """Show every node and beat from the fleet's books."""
    show_status(ctx.obj.app, fleet_name, as_json)


queue_option = click.option(
    "--queue", "-Q", "queues", multiple=True, required=True, help="Queue to prove; repeatable."
)
timeout_option = click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait.")


@fleet.command("canary")
@queue_option
@timeout_option
@as_json
@fleet_option
@click.pass_context
def fleet_canary(
    ctx: click.Context, queues: tuple[str, ...], timeout: float, as_json: bool, fleet_name: str
) -> None:
    """Send a task through each queue and wait until a worker has run it."""
    show_canary(ctx.obj.app, fleet_name, queues, timeout, as_json)


@fleet.command("check")
@as_json
@click.pass_context
def fleet_check(ctx: click.Context, as_json: bool) -> None:
    """Import the whole application and show what the fleet sets and what will hurt."""
    show_check(ctx.obj.app, as_json)


@fleet.command("autoscale")
@click.option("--nodes", required=True, help="Full node names, parted by commas.")
@click.option(
    "--set", "settings", default="", help="Limits and guards as JSON, in bytes, seconds and percent."
)
@click.option("--check", is_flag=True, help="Only ask whether they could be.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for the answers.")
@as_json
@click.pass_context
@speaks_plainly
def fleet_autoscale(
    ctx: click.Context, nodes: str, settings: str, check: bool, timeout: float, as_json: bool
) -> None:
    """Ask autoscaled nodes for their limits, or give them others; nothing restarts."""
    from celeryops.autoscale.command import ask

    report = ask(ctx.obj.app, nodes.split(","), json.loads(settings) if settings else None, check, timeout)
    if as_json:
        answer(report)
    else:
        for node, said in report["nodes"].items():
            state = said.get("state", said)
            click.echo(
                f"{node}: {state['min']} to {state['max']} processes, {state['reason']}: {state['text']}"
            )
        for node, why in report["errors"].items():
            click.echo(f"{node}: {why}", err=True)
        for node in report["silent"]:
            click.echo(f"{node}: no answer", err=True)
    sys.exit(1 if report["errors"] or report["silent"] else 0)


@fleet.command("metrics")
@fleet_option
@click.pass_context
@speaks_plainly
def fleet_metrics(ctx: click.Context, fleet_name: str) -> None:
    """Print the fleet's books as Prometheus reads them."""
    from celeryops.metrics import render

    click.echo(render(open_books(ctx.obj.app, fleet_name).read()), nl=False)


# The group below is `python -m celeryops`, for tools: it imports the application only where it must.


@click.group()
def main() -> None:
    """Tools of the fleet's runtime."""


main.add_command(beat.beat)


@main.command("status")
@as_json
@fleet_option
@app_option
def main_status(as_json: bool, fleet_name: str, app_path: str) -> None:
    """Show every node and beat from the fleet's books."""
    show_status(chosen_app(app_path), fleet_name, as_json)


@main.command("metrics")
@fleet_option
@app_option
@speaks_plainly
def main_metrics(fleet_name: str, app_path: str) -> None:
    """Print the fleet's books as Prometheus reads them."""
    from celeryops.metrics import render

    app = chosen_app(app_path)
    click.echo(render(open_books(app, fleet_name).read()), nl=False)


@main.command("canary")
@queue_option
@timeout_option
@as_json
@fleet_option
@click.option("-A", "--app", "app_path", required=True, help="The application, for its queues.")
def main_canary(
    queues: tuple[str, ...], timeout: float, as_json: bool, fleet_name: str, app_path: str
) -> None:
    """Send a task through each queue and wait until a worker has run it."""
    show_canary(find_app(app_path), fleet_name, queues, timeout, as_json)


@main.command("check")
@click.argument("app")
@as_json
def main_check(app: str, as_json: bool) -> None:
    """Import the whole application; a failing import shows its own traceback."""
    show_check(find_app(app), as_json)


@main.command("broker")
@as_json
@app_option
@speaks_plainly
def main_broker(as_json: bool, app_path: str) -> None:
    """Judge whether this Redis is fit to be a broker."""
    from celeryops import broker
    from celeryops.redisclient import connect

    client, _ = connect(chosen_app(app_path))
    facts = broker.collect(client)
    problems = broker.judge(facts)
    failed = any(problem["severity"] == broker.ERROR for problem in problems)
    if as_json:
        answer({"ok": not failed, **facts, "problems": problems})
    else:
        click.echo(f"{facts['server']} {facts['version']}, maxmemory-policy {facts['eviction_policy']}")
        for problem in problems:
            click.echo(f"{problem['severity']}: {problem['message']}")
    sys.exit(1 if failed else 0)


@main.command("once", context_settings={"ignore_unknown_options": True})
@click.option("--name", required=True, help="Name of the step.")
@click.option("--release", default=lambda: Identity.from_env().release, help="Default: CELERYOPS_RELEASE.")
@click.option(
    "--timeout", default=3600.0, show_default=True, help="Seconds to wait for another host that runs it."
)
@fleet_option
@app_option
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@speaks_plainly
def main_once(
    name: str, release: str, timeout: float, fleet_name: str, app_path: str, argv: tuple[str, ...]
) -> None:
    """Run a command once for the whole fleet and release."""
    from celeryops.once import Once, WaitedTooLongError, execute

    if not release:
        raise click.ClickException("no release: give --release or set CELERYOPS_RELEASE")
    books = open_books(chosen_app(app_path), fleet_name)
    try:
        result = Once(books, name, release).run(lambda: execute(argv), timeout)
    except WaitedTooLongError as exc:
        raise click.ClickException(str(exc)) from exc
    answer({"fleet": fleet_name, "name": name, "release": release, **result})
    sys.exit(min(result["rc"], 255) if result["rc"] >= 0 else 128 - result["rc"])


@main.command("detach", context_settings={"ignore_unknown_options": True})
@click.option("--pidfile", required=True)
@click.option("--logfile", required=True)
@click.option("--chdir", default=None)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def main_detach(pidfile: str, logfile: str, chdir: str | None, argv: tuple[str, ...]) -> None:
    """Run a command in the background under a pid file."""
    from celeryops.detach import DetachError, detach

    try:
        answer({"pid": detach(argv, pidfile, logfile, chdir)})
    except DetachError as exc:
        raise click.ClickException(str(exc)) from exc


@main.command("move")
@speaks_plainly
def main_move() -> None:
    """Take the fleet's queues and books to another Redis, prefix or name; asked in JSON on stdin."""
    from celeryops.move import move
    from celeryops.move.place import MoveError

    try:
        answer(move(json.load(sys.stdin)))
    except MoveError as exc:
        raise click.ClickException(str(exc)) from exc
