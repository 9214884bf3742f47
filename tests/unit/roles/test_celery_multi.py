"""The multi file means the same command lines as the units, as Celery itself reads both."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.apps.multi import Cluster, MultiParser, NamespacedOptionParser
from celery.bin.base import CLIContext
from celery.bin.worker import worker

POOLS: list[dict[str, Any]] = [
    {
        "name": "default",
        "queues": ["celery"],
        "autoscale": {"min": 1, "max": 8},
        "max_tasks_per_child": 1000,
        "max_memory_per_child": "400MB",
        "time_limit": "30m",
        "soft_time_limit": "25m",
    },
    {
        "name": "ml",
        "queues": ["ml", "gpu"],
        "concurrency": 2,
        "nodes": 2,
        "log_level": "DEBUG",
        "events": False,
    },
    {"name": "io", "queues": ["io"], "pool": "threads", "concurrency": 20, "nodes": 2},
    {"name": "odd_one-x", "queues": ["a b", "it's", 'say "hi"', "grüße", "$HOME", "`id`", "back\\slash"]},
    {"name": "one", "queues": ["one"], "pool": "solo", "extra_args": ["--without-gossip", "-X", "a b,'c'"]},
    {
        "name": "two",
        "queues": ["two"],
        "extra_args": ["--include=a,b", "--without-gossip", "--heartbeat-interval", "5"],
    },
]
# What celery multi adds, and where a detached worker's output goes: a unit has neither.
_OF_MULTI = ("--detach", "--pidfile", "--logfile", "--executable")


def meaning(argv: list[str]) -> dict[str, Any]:
    """What `celery worker` makes of its arguments."""
    context = CLIContext(app=Celery(set_as_current=False), no_color=True, workdir="")
    return dict(worker.make_context("worker", list(argv), obj=context).params)


def of_unit(node: dict[str, Any]) -> dict[str, Any]:
    assert node["argv"][0] == "worker"
    return meaning(node["argv"][1:])


def of_multi(command: list[str], app: str) -> dict[str, Any]:
    """The worker's arguments in a command that celery multi would run."""
    start = command.index("-m")
    position = command.index("worker")
    assert command[start:position] == ["-m", "celery", "-A", app]
    kept = [word for word in command[position + 1 :] if not word.startswith(_OF_MULTI)]
    return meaning(kept)


def expand(arguments: list[str]) -> dict[str, list[str]]:
    """Commands by node, as celery multi works them out of its own arguments."""
    parser = NamespacedOptionParser(arguments)
    parser.parse()
    cluster = Cluster(list(MultiParser(cmd="-m celery worker --detach").parse(parser)))
    return {node.name: node.prepare_argv(node.argv, node.executable) for node in cluster}


def words_of(file: Path, script: str) -> list[str]:
    """The arguments that a shell hands over after it has read the file."""
    done = subprocess.run(
        ["sh", "-euc", f'. "$1"; {script}; printf "%s\\0" "$@"', "sh", str(file)],
        capture_output=True,
        check=True,
        env={"PATH": os.defpath},
    )
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    "pools", [POOLS, POOLS[:1], POOLS[1:2], POOLS[3:4]], ids=["all", "one", "pair", "odd"]
)
def test_the_file_means_the_units_command_lines(fleet: Any, pools: list[dict[str, Any]]) -> None:
    nodes = fleet.set_pools(pools, "multi")
    file = fleet.write("etc/celeryd", fleet.render("celery_worker", "celeryd.j2"))
    # As Celery documents its use: the shell reads the file, and splits the options once more.
    arguments = words_of(
        file,
        'eval "set -- $CELERYD_NODES -A $CELERY_APP --pidfile=$CELERYD_PID_FILE --logfile=$CELERYD_LOG_FILE '
        '--loglevel=$CELERYD_LOG_LEVEL $CELERYD_OPTS"',
    )
    commands = expand(arguments)
    assert list(commands) == [node["nodename"] for node in nodes]
    for node in nodes:
        assert of_multi(commands[node["nodename"]], "shop.celery:app") == of_unit(node), node["name"]


def test_the_file_has_celerys_documented_variables(fleet: Any) -> None:
    fleet.set_pools(POOLS, "multi")
    file = fleet.write("etc/celeryd", fleet.render("celery_worker", "celeryd.j2"))
    names = ("NODES", "OPTS", "CHDIR", "PID_FILE", "LOG_FILE", "LOG_LEVEL", "USER", "GROUP")
    wanted = " ".join(f'"$CELERYD_{name}"' for name in names)
    found = dict(zip(names, words_of(file, f"set -- {wanted}"), strict=True))
    assert found["NODES"].split()[:2] == ["default-1@w1", "ml-1@w1"]
    assert found["PID_FILE"] == f"{fleet.root}/run/%n.pid"
    assert found["LOG_FILE"] == f"{fleet.root}/log/%n.log"
    assert found["LOG_LEVEL"] == "INFO"
    assert found["CHDIR"] == f"{fleet.root}/src"
    assert words_of(file, 'set -- "$CELERY_BIN" "$CELERY_APP"') == [
        f"{fleet.root}/bin/celery",
        "shop.celery:app",
    ]


def test_options_that_all_nodes_share_stand_once(fleet: Any) -> None:
    fleet.set_pools(POOLS[:3], "multi")
    words = fleet.render("celery_worker", "celeryd.j2").replace('"', "").split()
    assert "--prefetch-multiplier=1" in words
    assert "--concurrency:ml-1,ml-2=2" in words
    assert "--loglevel:ml-1,ml-2=DEBUG" in words
    assert f"--statedb={fleet.root}/state/%n.db" in words


@pytest.fixture
def celery_multi(fleet: Any, write_program: Callable[[str, str], Path]) -> Callable[..., Any]:
    """Runs celery-multi against a `celery` that writes down its arguments and environment for each node."""
    nodes = fleet.set_pools(POOLS, "multi")
    fleet.write("etc/celeryd", fleet.render("celery_worker", "celeryd.j2"))
    fleet.write("etc/environment", 'SHARED="a \\$b"\nOVER="fleet"\n')
    for node in nodes:
        own = {**node, "environment": {"OVER": node["name"]}}
        fleet.write(f"etc/nodes/{node['name']}.env", fleet.render("celery_worker", "node.env.j2", node=own))
    write_program(
        "bin/celery", f'printf "%s\\0" "$@" >"{fleet.root}/log/$3.args"; env -0 >"{fleet.root}/log/$3.env"'
    )
    write_program("opt/bin/run", fleet.render("celery", "run.j2").partition("\n")[2])
    command = write_program(
        "opt/bin/celery-multi", fleet.render("celery_worker", "celery-multi.j2").partition("\n")[2]
    )

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
        return subprocess.run(
            [str(command), *arguments], capture_output=True, text=True, check=False, env=env
        )

    return call


def written(fleet: Any, suffix: str) -> dict[str, list[str]]:
    found = (fleet.root / "log").glob(f"*.{suffix}")
    return {path.name.partition("@")[0]: path.read_text().split("\0")[:-1] for path in found}


def test_celery_multi_gives_each_node_the_units_command_line(
    fleet: Any, celery_multi: Callable[..., Any]
) -> None:
    done = celery_multi("start")
    assert (done.returncode, done.stderr) == (0, "")
    calls = written(fleet, "args")
    assert set(calls) == {node["name"] for node in fleet.variables["celery_worker_nodes"]}
    for node in fleet.variables["celery_worker_nodes"]:
        arguments = calls[node["name"]]
        assert arguments[:3] == ["multi", "start", node["nodename"]]
        # Celery before 5.7 cannot take a dash in a namespace beside a single node.
        assert not any(word.startswith("--") and ":" in word.partition("=")[0] for word in arguments)
        command = expand(arguments[2:])[node["nodename"]]
        assert of_multi(command, "shop.celery:app") == of_unit(node), shlex.join(command)


def test_celery_multi_gives_each_node_its_own_environment_and_nothing_of_the_callers(
    fleet: Any, celery_multi: Callable[..., Any]
) -> None:
    celery_multi("start", "ml-1", "io-2@w1", DJANGO_SETTINGS_MODULE="of.the.operator", LANG="C")
    found = {
        node: dict(pair.split("=", 1) for pair in pairs) for node, pairs in written(fleet, "env").items()
    }
    assert set(found) == {"ml-1", "io-2"}
    fingerprints = {node["name"]: node["fingerprint"] for node in fleet.variables["celery_worker_nodes"]}
    for name, environment in found.items():
        assert environment["CELERYOPS_NODE"] == name
        assert environment["CELERYOPS_FINGERPRINT"] == fingerprints[name]
        assert (environment["SHARED"], environment["OVER"]) == ("a $b", name)
        assert environment["PATH"].startswith(f"{fleet.root}/bin:")
        assert not {"DJANGO_SETTINGS_MODULE", "CELERYOPS_MULTI"} & set(environment)


@pytest.mark.parametrize("arguments", [(), ("start", "nope-1")])
def test_celery_multi_refuses_what_it_does_not_know(
    celery_multi: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    done = celery_multi(*arguments)
    assert done.returncode == 64
    assert "usage" in done.stderr or "nope-1 is no node of this host" in done.stderr
