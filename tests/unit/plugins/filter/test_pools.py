from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.fleet.plugins.filter import fleet_problems, pools, text, units


def test_names_of_all_filters() -> None:
    names = {
        name for module in (fleet_problems, pools, text, units) for name in module.FilterModule().filters()
    }
    assert names == {
        *(
            "bytes",
            "celeryd_file",
            "env_file",
            "fingerprint",
            "fleet_problems",
            "longest_task",
            "node_environment",
        ),
        *("node_files", "node_limits", "node_wants", "pool_problems", "queue_consumers", "route_problems"),
        *("scaled_nodes", "seconds", "task_routes", "unit_command", "worker_nodes"),
    }


def test_node_files_repeats_entries_for_each_node() -> None:
    nodes = [{"name": "a-1"}, {"name": "b-1"}]
    entries = [{"dest": "/etc/%n.env", "template": "x.j2", "vars": {"k": 1}}, {"dest": "/u/%n@%n.service"}]
    found = pools.node_files(nodes, entries)
    assert [entry["dest"] for entry in found] == [
        "/etc/a-1.env",
        "/u/a-1@a-1.service",
        "/etc/b-1.env",
        "/u/b-1@b-1.service",
    ]
    assert found[0]["vars"] == {"k": 1, "node": {"name": "a-1"}}
    assert entries[0]["vars"] == {"k": 1}


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: pools.worker_nodes([{"name": "p"}], "h", "/s"), "has no queues"),
        (
            lambda: pools.longest_task([{"name": "p", "queues": ["q"], "time_limit": 5}]),
            "time_limit = 5 has no unit",
        ),
        (
            lambda: units.seconds(5, "celery_proof_canary_timeout"),
            "celery_proof_canary_timeout = 5 has no unit",
        ),
        (lambda: units.to_bytes("5G"), "size = '5G' leaves open"),
        (lambda: text.env_file({"A": None}), "has no value"),
        (lambda: text.unit_command(["a\n"]), "line break"),
    ],
)
def test_what_cannot_work_is_an_error_of_the_filter(call: Any, words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        call()
