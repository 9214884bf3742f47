from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .test_celery_nodes import run

RECORD = {"kind": "worker", "node": "n-1@h", "host": "h", "pid": 7, "status": "ready", "release": "1"}

WRAPPER = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  python) echo 'a line of somebody else'; cat {status};;
  inspect) shift; case "$*" in *destination*) cat {late};; *) cat {pings};; esac;;
esac
"""


class Host:
    """A host with wrappers that answer from files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        files = {name: root / name for name in ("calls", "status", "pings", "late")}
        for path in files.values():
            path.touch()
        for name in ("run", "celery"):
            wrapper = root / "bin" / name
            wrapper.write_text(WRAPPER.format(**files))
            wrapper.chmod(0o755)

    def answers(self, name: str, value: Any) -> None:
        (self.root / name).write_text(json.dumps(value))

    def info(self, **params: Any) -> dict[str, Any]:
        return run("celery_info", opt_dir=str(self.root), **params)


def test_records_and_cross_check(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.answers("status", {"fleet": "shop", "now": 1, "nodes": [RECORD], "beats": []})
    host.answers("pings", {"n-1@h": {"ok": "pong"}})
    result = host.info()
    assert not result["changed"] and result["found"] and result["fleet"] == "shop"
    assert result["nodes"] == [RECORD] and result["beats"] == [] and result["flowers"] == []
    assert result["inspect"] == {"n-1@h": "ok"} and result["problems"] == []


def test_without_cross_check_nobody_is_pinged(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.answers("status", {"fleet": "shop", "nodes": [RECORD]})
    result = host.info(cross_check=False, expected=["n-1@h", "n-2@h"])
    assert "inspect" not in result and "inspect" not in (tmp_path / "calls").read_text()
    (problem,) = result["problems"]
    assert problem.startswith("n-2@h is expected")


def test_a_silent_node_is_asked_again_before_it_is_blamed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.answers("status", {"fleet": "shop", "nodes": [RECORD, {**RECORD, "node": "n-2@h"}]})
    host.answers("late", {"n-1@h": {"ok": "pong"}})
    result = host.info(timeout=0.5)
    assert result["inspect"] == {"n-1@h": "ok", "n-2@h": "no reply"}
    (problem,) = result["problems"]
    assert "n-2@h" in problem
    assert (tmp_path / "calls").read_text().splitlines()[1:] == [
        "inspect --json --timeout 0.5 ping",
        "inspect --json --timeout 1 --destination n-1@h,n-2@h ping",
    ]


def test_a_host_without_a_fleet(tmp_path: Path) -> None:
    result = run("celery_info", opt_dir=f"{tmp_path}/none")
    assert not result["found"] and not result["changed"] and result["nodes"] == []
    assert "No fleet is installed" in result["problems"][0] and f"{tmp_path}/none" in result["problems"][0]


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (tmp_path / "bin/run").write_text("#!/bin/sh\necho no broker >&2\nexit 1\n")
    result = host.info()
    assert result["failed"] and "no broker" in result["msg"]
