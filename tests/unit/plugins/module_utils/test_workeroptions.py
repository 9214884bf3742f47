from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.options import (
    from_argv,
    parse_extra,
    to_argv,
)


@pytest.mark.parametrize(
    "arguments, options",
    [
        (
            ["--without-gossip", "--heartbeat-interval=10"],
            [("without-gossip", None), ("heartbeat-interval", "10")],
        ),
        (["--include", "a,b"], [("include", "a,b")]),
        (["-X", "slow"], [("exclude-queues", "slow")]),
        (["-Xslow"], [("exclude-queues", "slow")]),
        (["--my-option=a b'c"], [("my-option", "a b'c")]),
    ],
)
def test_options_are_read_as_celery_reads_them(
    arguments: list[str], options: list[tuple[str, str | None]]
) -> None:
    assert parse_extra(arguments) == (options, [])


@pytest.mark.parametrize(
    "arguments", [["-B"], ["--beat"], ["-EB"], ["-s", "x.db"], ["--scheduler=redbeat.RedBeatScheduler"]]
)
def test_a_beat_inside_a_worker_is_refused(arguments: list[str]) -> None:
    problems = parse_extra(arguments)[1]
    assert any("beat is a process of its own" in problem for problem in problems)


@pytest.mark.parametrize(
    "argument, remedy",
    [
        ("-c4", "set concurrency"),
        ("--autoscale=4,1", "set autoscale"),
        ("-Qhigh", "set queues"),
        ("--loglevel=DEBUG", "set log_level"),
        ("-E", "set events"),
        ("--time-limit=5", "set time_limit"),
        ("--purge", "delete the waiting tasks"),
        ("--broker=redis://:secret@x", "celery_broker_url"),
        ("--hostname=x", "node's name"),
        ("-D", "service manager"),
        ("--statedb=x", "state file of its own"),
        ("--range-prefix=x", "celery multi takes it"),
    ],
)
def test_what_is_rendered_elsewhere_is_refused_with_the_place_to_set_it(argument: str, remedy: str) -> None:
    problems = parse_extra([argument])[1]
    assert len(problems) == 1
    assert remedy in problems[0]


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["stray"], "belongs to no option"),
        (["--without-gossip", "yes"], "belongs to no option"),
        (["--"], "belongs to no option"),
        (["--include=a", "--include=b"], "twice"),
        (["--include="], "empty value"),
        (["--without-mingle=1"], "takes none"),
        (["--include=%h"], "% in its value"),
        (["-z"], "no option -z"),
        (["-X"], "needs a value"),
    ],
)
def test_what_celery_multi_would_read_otherwise_is_refused(arguments: list[str], reason: str) -> None:
    assert reason in parse_extra(arguments)[1][0]


def test_arguments_read_back_are_the_same_options() -> None:
    options = [("queues", "a,b c"), ("task-events", None), ("statedb", "/x y"), ("without-gossip", None)]
    assert to_argv(options) == ["-Q", "a,b c", "-E", "--statedb=/x y", "--without-gossip"]
    assert from_argv(to_argv(options)) == options
