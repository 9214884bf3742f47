"""The book of hosts on a real server, and who keeps that server from being stopped."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collection import run_module
from tests.support.redis import free_port
from tests.support.waiting import until

from .conftest import Server

WORKERS = {"worker": ["w1", "w2"], "beat": ["w1"]}


def book(server: Server, state: str, **arguments: Any) -> dict[str, Any]:
    flags = {name: arguments.pop(name) for name in ("check", "diff") if name in arguments}
    given = {
        "state": state,
        "fleet": "shop",
        "broker": f"redis://:{server.options['password']}@127.0.0.1:{server.options['port']}/1",
        "inventory": ["w1", "w2", "w3"],
        "visible": ["w1", "w2", "w3"],
        **arguments,
    }
    return run_module("celery_hosts", given, **flags)


def test_a_fleet_joins_leaves_and_is_gone(one: Server) -> None:
    one.changed()
    first = book(one, "read", roles=WORKERS)
    assert first["answered"] and not first["changed"] and first["book"] == {}

    foreseen = book(one, "joined", roles=WORKERS, check=True, diff=True)
    assert foreseen["changed"] and foreseen["diff"]["after"] == "w1: worker, beat\nw2: worker\n"
    assert book(one, "read")["book"] == {}

    assert book(one, "joined", roles=WORKERS)["changed"]
    assert not book(one, "joined", roles=WORKERS)["changed"]
    again = book(one, "read", roles=WORKERS)
    assert again["entered"] and again["before"] == again["book"]
    assert not first["entered"] and first["before"] == {}

    moved = {"worker": ["w2", "w3"], "beat": ["w2"]}
    joined = book(one, "joined", roles=moved)
    assert joined["leaving"] == [{"host": "w1", "leaves": ["worker", "beat"], "keeps": []}]
    assert joined["book"] == {"w1": ["beat", "worker"], "w2": ["beat", "worker"], "w3": ["worker"]}
    assert book(one, "settled", roles=moved, settled=["w1"])["leaving"] == []

    everything = book(one, "settled", settled=["w2", "w3"], purge=True)
    assert everything["changed"] and everything["book"] == {}
    assert one.call("DBSIZE") == 0


def test_purging_leaves_queues_and_other_fleets(one: Server) -> None:
    one.changed()
    one.call("MSET", "celery", "1", "celeryops:shop:once", "2", "celeryops:shop-two:once", "3")
    book(one, "settled", purge=True, broker=f"redis://:first-password@127.0.0.1:{one.options['port']}")
    assert sorted(one.call("KEYS", "*")) == ["celery", "celeryops:shop-two:once"]


def test_two_fleets_of_one_name(one: Server) -> None:
    one.changed()
    book(one, "joined", roles=WORKERS)
    refused = book(one, "read", roles={"worker": ["x1"]}, inventory=["x1"], visible=["x1"])
    assert refused["failed"] and "w1 (worker, beat), w2 (worker)" in refused["msg"]
    prefixed = book(one, "joined", roles={"worker": ["x1"]}, inventory=["x1"], visible=["x1"], prefix="x:")
    assert prefixed["book"] == {"x1": ["worker"]}
    assert len(refused["problems"]) == 1


def test_a_machine_that_was_replaced_while_the_old_one_works(one: Server) -> None:
    one.changed()
    old = [{"host": "w1", "machine": "m1", "opt_dir": "/opt/celery/shop"}]
    book(one, "joined", roles=WORKERS, places=old)
    new = [{"host": "w1", "machine": "m2", "opt_dir": "/opt/celery/shop"}]
    assert not book(one, "read", roles=WORKERS, places=new).get("failed")
    script = (
        "redis.call('SELECT', 1) redis.call('ZADD', KEYS[1], 1, ARGV[1]) redis.call('SET', KEYS[2], ARGV[2])"
    )
    keys = ["celeryops:shop:nodes", "celeryops:shop:node:n@w1"]
    one.call("EVAL", script, 2, *keys, "n@w1", '{"host": "w1"}')
    refused = book(one, "read", roles=WORKERS, places=new)
    assert refused["failed"] and "another machine that is called w1" in refused["msg"]


def test_the_book_of_a_former_broker_counts(one: Server) -> None:
    one.changed()
    book(one, "joined", roles={"redis": ["w1"], **WORKERS})
    address = f"redis://:first-password@127.0.0.1:{one.options['port']}"
    moved: dict[str, Any] = {"broker": f"{address}/2", "former_brokers": [f"{address}/1", f"{address}/2"]}
    roles = {"redis": ["w3"], **WORKERS}
    joined = book(one, "joined", roles=roles, **moved)
    assert joined["leaving"] == [{"host": "w1", "leaves": ["redis"], "keeps": ["beat", "worker"]}]
    book(one, "settled", roles=roles, settled=["w1"], **moved)
    assert "redis" not in book(one, "read")["book"]["w1"]


def test_a_broker_that_does_not_answer(one: Server) -> None:
    refused = book(one, "read")
    assert refused["failed"] and "Connection refused" in refused["msg"]
    assert "first-password" not in refused["msg"]
    empty = book(one, "joined", roles=WORKERS, must_answer=False, check=True)
    assert empty["changed"] and not empty["answered"] and "Connection refused" in empty["reason"]


def test_a_wrong_password_is_said(one: Server) -> None:
    one.changed()
    refused = book(one, "read", broker=f"redis://:other@127.0.0.1:{one.options['port']}/0")
    assert refused["failed"] and "WRONGPASS" in refused["msg"]


def test_a_server_with_another_fleet_on_it_stays(one: Server) -> None:
    pid = one.changed()["pid"]
    book(one, "joined", roles=WORKERS)
    for check in (True, False):
        kept = one.run(state="absent", fleet="blog", check=check)
        assert not kept["changed"] and kept["others"] == ["shop (database 1)"]
    assert one.call("INFO", "server") and one.config.exists()
    gone = one.run(state="absent", fleet="shop")
    assert gone["changed"] and gone["stopped"] and gone["others"] == []
    assert not one.pid_file.exists() and pid


class Distribution:
    """A package's server: its configuration includes ours, and this test is its service manager."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.main, self.config, self.port = folder / "main.conf", folder / "ours.conf", free_port()
        self.config.write_text(f"port {self.port}\nrequirepass first-password\n")
        self.main.write_text(f"bind 127.0.0.1\ndir {folder}\nsave 3600 1\ninclude {self.config}\n")
        self.enabled = True
        self.process = subprocess.Popen([binary, str(self.main)], stdout=subprocess.DEVNULL)

    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def disable(self) -> None:
        self.enabled = False

    def absent(self) -> dict[str, Any]:
        files = {"main_config": str(self.main), "config": str(self.config)}
        server = {"service": "redis-server", "port": self.port, "password": "first-password"}
        return run_module("redis_server", {"state": "absent", "fleet": "shop", **files, **server})


@pytest.fixture
def distribution(one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ServiceServer

    package = Distribution(one.binary, tmp_path)
    one.options["port"] = package.port
    answers = {
        "active": lambda self: package.runs(),
        "pid": lambda self: package.process.pid if package.runs() else None,
        "enabled": lambda self: package.enabled,
        "disable": lambda self: package.disable(),
        "stop": lambda self, session, pid: package.end(),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(ServiceServer, name, answer)
    until(one.answers, "the package's server listens")
    yield package
    package.end()


def test_a_package_s_server_that_holds_nothing_is_stopped(one: Server, distribution: Distribution) -> None:
    book(one, "joined", roles={"worker": ["x1"]}, fleet="blog", inventory=["x1"], visible=["x1"])
    kept = distribution.absent()
    assert not kept["changed"] and kept["others"] == ["blog (database 1)"] and distribution.runs()
    book(one, "settled", settled=["x1"], fleet="blog", inventory=["x1"])
    one.call("HSET", "celeryops:shop:once", "a", "b")
    gone = distribution.absent()
    assert gone["changed"] and gone["stopped"] and not distribution.runs() and not distribution.enabled
    assert not distribution.config.exists() and "include" not in distribution.main.read_text()
    assert not distribution.absent()["changed"]
