from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import records
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.records import RecordsError

RECORD = {"node": "n-1@h", "pid": 7, "fingerprint": "f", "status": "ready", "active": 2}
STATUS: dict[str, Any] = {
    "fleet": "shop",
    "now": 1,
    "nodes": [RECORD],
    "beats": [{**RECORD, "node": "beat@h"}],
}


def test_what_the_application_prints_is_passed_over() -> None:
    text = 'loading {"a": 1} and {broken\n{"fleet": "shop", "nodes": []}\nbye'
    assert records.parse(text) == {"fleet": "shop", "now": None, "nodes": [], "beats": []}


@pytest.mark.parametrize("text", ["", "no json", '{"a": 1}', "[1]"])
def test_an_answer_without_records_is_shown(text: str) -> None:
    with pytest.raises(RecordsError, match=r"no json|nothing|a|1"):
        records.parse(text)


@pytest.mark.parametrize(
    "pid, fingerprint, nodename, found",
    [
        (7, "f", "n-1@h", True),
        (7, "f", "", True),
        (8, "f", "n-1@h", False),
        (7, "g", "n-1@h", False),
        (7, "f", "n-2@h", False),
        (7, "f", "beat@h", True),
    ],
)
def test_only_the_process_own_record_counts(pid: int, fingerprint: str, nodename: str, found: bool) -> None:
    assert (records.of_process(STATUS, pid, fingerprint, nodename) is not None) is found


def test_readiness() -> None:
    assert records.is_ready(RECORD)
    assert not records.is_ready({**RECORD, "status": "starting"})
    assert not records.is_ready(None)
    assert "no record" in records.describe(None)
    assert "ready" in records.describe(RECORD) and "pid 7" in records.describe(RECORD)
    assert records.of_node(STATUS, "beat@h") is not None and records.of_node(STATUS, "x") is None


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(RecordsError, match="ended with 3: so it goes"):
        records.read(["/bin/sh", "-c", "echo so it goes >&2; exit 3"])


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(RecordsError, match="/nowhere/celery"):
        records.read(["/nowhere/celery"])


def test_a_command_that_hangs() -> None:
    with pytest.raises(RecordsError, match=r"not answered within 0\.2 s"):
        records.read(["sleep", "5"], timeout=0.2)


def test_it_runs_with_the_fleets_environment(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment.write_text('FRUIT="plum \\$x"\n')
    command = ["/bin/sh", "-c", 'printf \'{"nodes": [], "fleet": "%s"}\' "$FRUIT"']
    assert records.read(command, [str(environment)])["fleet"] == "plum $x"


@pytest.mark.parametrize(
    "result, answer",
    [
        (Result(0, '{"n-1@h": {"ok": "pong"}}', ""), {"n-1@h": {"ok": "pong"}}),
        (Result(0, 'hello {1}\n{"n-1@h": {"ok": "pong"}}', ""), {"n-1@h": {"ok": "pong"}}),
        (Result(69, "", "Error: No nodes replied within time constraint"), {}),
    ],
)
def test_pings(result: Result, answer: dict[str, Any]) -> None:
    assert records.parse_pings(result) == answer


@pytest.mark.parametrize("result", [Result(1, "", "boom"), Result(-1, "", "", True)])
def test_a_ping_that_fails(result: Result) -> None:
    with pytest.raises(RecordsError, match=r"boom|broker"):
        records.parse_pings(result)
