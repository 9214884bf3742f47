"""The systemd manager against a systemctl of our own that remembers what it was told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import (
    processes,
    reconcile,
    systemctl,
    systemd,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Wanted, plan
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.systemd import Systemd

A, B = "a" * 16, "b" * 16
ONE, TWO = "celery-shop-worker@n-1.service", "celery-shop-worker@n-2.service"


class Host:
    """Units by name, with the effects that systemctl's verbs have on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units: dict[str, dict[str, str]] = {}
        self.environs: dict[int, dict[str, str]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.broken: set[str] = set()
        for name in ("units", "etc/nodes", "log", "run"):
            (root / name).mkdir(parents=True)

    def install(self, unit: str, fingerprint: str | None = None, **properties: str) -> None:
        (self.root / "units" / unit).write_text(f"EnvironmentFile={self.root}/etc/environment\n")
        node = unit.partition("@")[2].partition(".")[0]
        if node:
            (self.root / f"etc/nodes/{node}.env").touch()
        state = {"ActiveState": "inactive", "SubState": "dead", "MainPID": "0", "UnitFileState": "enabled"}
        self.units[unit] = {"Id": unit, "LoadState": "loaded", "NRestarts": "0", **state, **properties}
        if fingerprint:
            self.run(unit, fingerprint)

    def run(self, unit: str, fingerprint: str) -> None:
        pid = 1000 + len(self.environs)
        self.environs[pid] = {processes.FINGERPRINT: fingerprint, processes.FLEET: "shop"}
        self.units[unit].update(ActiveState="active", SubState="running", MainPID=str(pid))

    def systemctl(self, *arguments: str, timeout: float | None = None) -> Result:
        verb, *rest = arguments
        named = [one for one in rest if not one.startswith("-")]
        if verb == "show":
            missing = {
                "LoadState": "not-found",
                "ActiveState": "inactive",
                "SubState": "dead",
                "MainPID": "0",
            }
            shown = [self.units.get(unit, {"Id": unit, **missing}) for unit in named if "*" not in unit]
            shown += [one for unit, one in self.units.items() if "worker@" in unit]
            return Result(0, "\n\n".join("\n".join(f"{k}={v}" for k, v in one.items()) for one in shown), "")
        self.calls.append((verb, *(one for one in rest if one != "--")))
        if verb in ("start", "restart"):
            for unit in named:
                if unit in self.broken:
                    self.units[unit].update(ActiveState="failed", SubState="failed", Result="exit-code")
                elif unit.endswith(".service"):
                    self.run(unit, self.next_fingerprint(unit))
                else:
                    self.units[unit].update(ActiveState="active")
        elif verb == "stop":
            for unit in named:
                self.units[unit].update(ActiveState="inactive", SubState="dead", MainPID="0")
        elif verb == "enable":
            for unit in named:
                self.units[unit].update(UnitFileState="enabled")
        return Result(0, "", "")

    def next_fingerprint(self, unit: str) -> str:
        return self.fingerprints[unit]

    def read_many(self, pids: Any) -> dict[int, Process]:
        return {
            pid: Process(pid, 1, 1, ("celery",), self.environs[pid]) for pid in pids if pid in self.environs
        }

    fingerprints: dict[str, str] = {}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    one = Host(tmp_path)
    monkeypatch.setattr(systemctl, "call", one.systemctl)
    monkeypatch.setattr(processes, "read_many", one.read_many)
    monkeypatch.setattr(systemctl, "run", lambda *_, **__: Result(0, "a line of the journal", ""))
    return one


def manager(host: Host, kind: str = "worker", **more: Any) -> Systemd:
    root = str(host.root)
    return Systemd(
        "shop", kind, f"{root}/etc", f"{root}/log", f"{root}/run", unit_dir=f"{root}/units", **more
    )


def converge(host: Host, *wanted: Wanted, **more: Any) -> tuple[list[reconcile.Step], reconcile.Outcome]:
    one = manager(host, **more)
    host.fingerprints = {one.unit(node.name): node.fingerprint for node in wanted}
    steps = plan(wanted, one.observe(wanted))
    return steps, one.apply(steps)


def test_a_bare_host_has_nothing(host: Host) -> None:
    assert manager(host).observe([Wanted("n-1", A)]) == []


def test_no_unit_dir_at_all(host: Host) -> None:
    one = manager(host)
    one.unit_dir = "/nowhere/units"
    assert one.observe([Wanted("n-1", A)]) == []


def test_all_are_started_in_one_call(host: Host) -> None:
    host.install(ONE)
    host.install(TWO)
    _, outcome = converge(host, Wanted("n-1", A), Wanted("n-2", A))
    assert outcome.started == ["n-1", "n-2"] and not outcome.failures
    assert ("start", ONE, TWO) in host.calls


def test_only_what_differs_is_restarted(host: Host) -> None:
    host.install(ONE, A)
    host.install(TWO, B)
    _, outcome = converge(host, Wanted("n-1", A), Wanted("n-2", A))
    assert outcome.restarted == ["n-2"] and outcome.started == []
    assert host.calls == [("restart", TWO)]


def test_a_second_run_does_nothing(host: Host) -> None:
    host.install(ONE, A)
    _, outcome = converge(host, Wanted("n-1", A))
    assert not outcome.changed and host.calls == []


def test_a_changed_unit_file_alone_is_only_read_again(host: Host) -> None:
    host.install(ONE, A, NeedDaemonReload="yes")
    _, outcome = converge(host, Wanted("n-1", A))
    assert host.calls == [("daemon-reload",)]
    assert outcome.reloaded and not outcome.changed


def test_a_disabled_unit_is_enabled(host: Host) -> None:
    host.install(ONE, A, UnitFileState="disabled")
    steps, outcome = converge(host, Wanted("n-1", A))
    assert reconcile.predicted(steps).enabled == ["n-1"] == outcome.enabled
    assert host.calls == [("enable", ONE)]


def test_a_unit_without_install_section_is_left_alone(host: Host) -> None:
    host.install(ONE, A, UnitFileState="static")
    assert not converge(host, Wanted("n-1", A))[1].changed


def test_the_target_is_enabled_and_started_without_its_members(host: Host) -> None:
    host.install(ONE, A)
    host.install("celery-shop.target", UnitFileState="disabled")
    _, outcome = converge(host, Wanted("n-1", A))
    assert host.calls == [
        ("enable", "celery-shop.target"),
        ("start", "--job-mode=ignore-dependencies", "celery-shop.target"),
    ]
    assert outcome.changed
    assert not converge(host, Wanted("n-1", A))[1].changed


def test_what_left_the_list_is_stopped_and_leaves_nothing(host: Host) -> None:
    host.install(ONE, A)
    host.install(TWO, A)
    units = host.root / "units"
    link = units / "celery-shop.target.wants" / TWO
    link.parent.mkdir()
    link.symlink_to(units / TWO)
    (units / f"{TWO}.d").mkdir()
    (units / f"{TWO}.d/more.conf").touch()
    state = host.root / "n-2.state.db"
    state.touch()
    kept = host.root / "n-20.state.db"
    kept.touch()
    _, outcome = converge(host, Wanted("n-1", A), leftovers=[f"{host.root}/%n.state*"])
    assert outcome.stopped == ["n-2"] == outcome.removed
    assert host.calls == [("stop", "--no-block", TWO), ("stop", TWO), ("daemon-reload",)]
    assert sorted(os.listdir(units)) == [ONE, "celery-shop.target.wants"]
    assert os.listdir(link.parent) == [] and os.listdir(host.root / "etc/nodes") == ["n-1.env"]
    assert not state.exists() and kept.exists()


def test_a_lone_environment_file_is_removed_too(host: Host) -> None:
    (host.root / "etc/nodes/old-1.env").touch()
    _, outcome = converge(host)
    assert outcome.removed == ["old-1"] and outcome.stopped == []
    assert os.listdir(host.root / "etc/nodes") == []
    assert not any(call[0] == "stop" for call in host.calls)


def test_a_missing_unit_file_is_named(host: Host) -> None:
    _, outcome = converge(host, Wanted("n-1", A))
    (failure,) = outcome.failures
    assert ONE in failure and "not rendered" in failure and str(host.root / "units") in failure


def test_a_missing_unit_file_is_found_before_anything_is_stopped(host: Host) -> None:
    host.install(ONE)
    one = manager(host)
    wanted = [Wanted("n-1", A), Wanted("n-2", A)]
    (obstacle,) = one.obstacles(plan(wanted, one.observe(wanted)))
    assert str(host.root / "units" / TWO) in obstacle
    assert one.obstacles(plan([], one.observe([]))) == []


def test_a_failed_start_names_unit_state_and_journal(host: Host) -> None:
    host.install(ONE)
    host.install(TWO)
    host.broken = {ONE}
    (host.root / "log/n-1.log").write_text("a line of the log\n")
    _, outcome = converge(host, Wanted("n-1", A), Wanted("n-2", A))
    (failure,) = outcome.failures
    assert all(
        word in failure for word in (ONE, "Result=exit-code", "a line of the journal", "a line of the log")
    )
    assert outcome.started == ["n-2"], "the others get their turn"


def test_a_failed_unit_is_reset_before_it_is_started(host: Host) -> None:
    host.install(ONE, ActiveState="failed", SubState="failed", Result="exit-code")
    steps, outcome = converge(host, Wanted("n-1", A))
    assert "Result=exit-code" in steps[0].reason
    assert outcome.started == ["n-1"]
    assert host.calls == [("reset-failed", ONE), ("start", ONE)]


def test_a_start_that_is_refused_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(ONE)

    def refuse(*arguments: str, timeout: float | None = None) -> Result:
        if arguments[0] == "start":
            return Result(1, "", "Interactive authentication required.")
        return host.systemctl(*arguments, timeout=timeout)

    monkeypatch.setattr(systemctl, "call", refuse)
    (failure,) = converge(host, Wanted("n-1", A))[1].failures
    assert "systemctl said:\nInteractive authentication required." in failure


def test_a_unit_that_runs_something_else_than_wanted_is_a_failure(host: Host) -> None:
    host.install(ONE)
    one = manager(host)
    steps = plan([Wanted("n-1", A)], one.observe([Wanted("n-1", A)]))
    host.fingerprints = {ONE: B}
    (failure,) = one.apply(steps).failures
    assert B in failure and A in failure and "nodes/n-1.env" in failure


def test_a_unit_that_is_starting_is_waited_for_and_not_counted(host: Host) -> None:
    host.install(ONE, A)
    host.units[ONE].update(ActiveState="activating", SubState="start")
    _, outcome = converge(host, Wanted("n-1", A))
    assert host.calls == [("start", ONE)]
    assert not outcome.changed and not outcome.failures


def test_a_process_whose_environment_may_not_be_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(ONE, A)
    monkeypatch.setattr(processes, "read_many", lambda pids: {pid: Process(pid, 1, 1) for pid in pids})
    with pytest.raises(processes.ProcessError, match="as root"):
        manager(host).observe([Wanted("n-1", A)])


def test_a_node_killed_while_it_stopped_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(ONE, A)
    original = host.systemctl

    def stop_in_anger(*arguments: str, timeout: float | None = None) -> Result:
        result = original(*arguments, timeout=timeout)
        if arguments[0] == "stop":
            host.units[ONE].update(ActiveState="failed", Result="timeout")
        return result

    monkeypatch.setattr(systemctl, "call", stop_in_anger)
    _, outcome = converge(host)
    (warning,) = outcome.warnings
    assert ONE in warning and "stop_timeout" in warning
    assert outcome.removed == ["n-1"] and ("reset-failed", ONE) in host.calls


def test_a_masked_beat_is_as_good_as_none(host: Host) -> None:
    os.symlink("/dev/null", host.root / "units/celery-shop-beat.service")
    host.units["celery-shop-beat.service"] = {"Id": "celery-shop-beat.service", "LoadState": "masked"}
    assert manager(host, kind="beat").observe([]) == []


def test_single_kinds_have_units_of_their_own() -> None:
    for kind in ("beat", "flower"):
        one = Systemd("shop", kind, "/e", "/l", "/r")
        assert one.unit(kind) == f"celery-shop-{kind}.service" and one.node(one.unit(kind)) == kind
    assert Systemd("shop", "worker", "/e", "/l", "/r").node(ONE) == "n-1"


def test_leaving_units_of_another_installation_are_left_alone(host: Host) -> None:
    host.install(ONE, A)
    (host.root / "units" / ONE).write_text("EnvironmentFile=/etc/celery/shop/environment\n")
    one = manager(host, leaving=True)
    assert one.observe([]) == []
    pid = int(host.units[ONE]["MainPID"])
    host.environs[pid][processes.RUN_DIR] = str(host.root / "run")
    assert [seen.name for seen in one.observe([])] == ["n-1"], "its process says that it is ours"


def test_leaving_units_share_their_environment_files(host: Host) -> None:
    host.install(ONE, A)
    one = manager(host, leaving=True)
    (seen,) = one.observe([])
    assert all("nodes" not in path for path in seen.traces)


@pytest.mark.skipif(sys.platform != "linux", reason="asks this machine")
def test_whether_systemd_runs_is_asked_of_the_machine() -> None:
    assert systemd.is_running() is os.path.isdir("/run/systemd/system")


def test_a_node_that_came_back_with_the_old_unit_is_restarted(host: Host) -> None:
    """It died between a deploy's files and its daemon-reload: the environment is new, the command is not."""
    host.install(ONE, A)
    (host.root / "units" / ONE).write_text("[Service]\nEnvironment=CELERYOPS_UNIT=new\n")
    environ = host.environs[int(host.units[ONE]["MainPID"])]
    environ[processes.UNIT] = "old"
    steps, outcome = converge(host, Wanted("n-1", A))
    assert outcome.restarted == ["n-1"] and steps[0].reason == "was started from an older unit file"


@pytest.mark.parametrize("started", [None, "same"])
def test_a_node_of_this_unit_or_of_one_that_did_not_say_runs_on(host: Host, started: str | None) -> None:
    host.install(ONE, A)
    (host.root / "units" / ONE).write_text("[Service]\nEnvironment=CELERYOPS_UNIT=same\n")
    if started:
        host.environs[int(host.units[ONE]["MainPID"])][processes.UNIT] = started
    steps, outcome = converge(host, Wanted("n-1", A))
    assert steps[0].action == reconcile.KEEP and not outcome.changed


def test_a_process_that_has_just_been_forked_is_looked_at_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its exec it has systemd's own environment; taken for a stranger it would be restarted."""
    host.install(ONE, A)
    host.units[ONE].update(ActiveState="activating", SubState="start")
    looks: list[int] = []

    def read_many(pids: Any) -> dict[int, Process]:
        looks.append(1)
        found = host.read_many(pids)
        return found if len(looks) > 2 else {pid: Process(pid, 1, 1, ("systemd",), {}) for pid in found}

    monkeypatch.setattr(processes, "read_many", read_many)
    one = manager(host)
    (step,) = plan([Wanted("n-1", A)], one.observe([Wanted("n-1", A)]))
    assert step.action == reconcile.KEEP and len(looks) == 3
