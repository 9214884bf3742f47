"""What the autoscaler reads of machine, cgroups, children and queues: as kernels write it, and here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celeryops.autoscale import backlog, children, cpu, memory, pressure

MB = 1000**2
V1 = "5:cpu,cpuacct:/fleet/node\n4:memory:/fleet/node\n1:name=systemd:/fleet/node\n0::/\n"
V2 = "0::/fleet/node\n"


class Machine:
    """A machine with 8 GB, of which 6 GB are available."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.groups = folder / "proc", folder / "cgroup"
        self.write("proc/meminfo", "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 6000000 kB\n")
        self.groups.mkdir()

    def write(self, path: str, text: str) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def v1(self, group: str, limit: int | str, used: int, inactive: int = 0) -> None:
        folder = f"cgroup/memory/{group}"
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{used}\n")
        self.write(f"{folder}/memory.stat", f"inactive_file 1\ntotal_inactive_file {inactive}\n")

    def v2(self, group: str, used: int, inactive: int = 0, **limits: int | str) -> None:
        self.write("cgroup/cgroup.controllers", "cpu memory\n")
        self.write(f"cgroup/{group}/memory.current", f"{used}\n")
        self.write(f"cgroup/{group}/memory.stat", f"anon 5\ninactive_file {inactive}\n")
        for name in ("max", "high"):
            self.write(f"cgroup/{group}/memory.{name}", f"{limits.get(name, 'max')}\n")

    def memory(self) -> tuple[int, int]:
        return tuple(memory.read(self.proc, self.groups))  # type: ignore[return-value]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_cgroup_the_machine_counts(machine: Machine) -> None:
    assert machine.memory() == (8_192_000_000, 6_144_000_000)


def test_the_tightest_of_all_groups_above_counts_in_version_1(machine: Machine) -> None:
    machine.write("proc/self/cgroup", V1)
    machine.v1("", 2**63 - 4096, 3000 * MB)
    machine.v1("fleet/node", 2000 * MB, 500 * MB)
    machine.v1("fleet", 1000 * MB, 900 * MB, inactive=50 * MB)
    assert machine.memory() == (1000 * MB, 150 * MB)
    machine.v1("fleet/node", 600 * MB, 500 * MB)
    assert machine.memory() == (600 * MB, 100 * MB)


def test_the_tightest_of_all_groups_above_counts_in_version_2(machine: Machine) -> None:
    machine.write("proc/self/cgroup", V2)
    machine.v2("fleet", used=900 * MB, inactive=50 * MB, max=1000 * MB)
    machine.v2("fleet/node", used=500 * MB)
    assert machine.memory() == (1000 * MB, 150 * MB)
    machine.v2("fleet/node", used=500 * MB, max=2000 * MB, high=520 * MB)
    assert machine.memory() == (520 * MB, 20 * MB)
    machine.v2("fleet/node", used=600 * MB, high=520 * MB)
    assert machine.memory() == (520 * MB, 0)


@pytest.mark.parametrize("path", ["/machine/far/away", "/../../fleet"])
def test_in_a_container_whose_path_is_the_host_s_its_own_mount_counts(machine: Machine, path: str) -> None:
    machine.write("proc/self/cgroup", f"4:memory:{path}\n")
    machine.v1("", 700 * MB, 200 * MB)
    assert machine.memory() == (700 * MB, 500 * MB)


def test_a_platform_without_procfs_says_nothing(tmp_path: Path) -> None:
    assert memory.read(tmp_path, tmp_path) == (-1, -1)
    assert pressure.read("memory", tmp_path, tmp_path) == (None, None)


def test_cpus_are_those_that_are_allowed(machine: Machine) -> None:
    affinity = len(os.sched_getaffinity(0))
    assert cpu.allowed(machine.proc, machine.groups) == affinity
    machine.write("proc/self/cgroup", V2)
    machine.write("cgroup/cgroup.controllers", "cpu\n")
    machine.write("cgroup/fleet/node/cpu.max", "max 100000\n")
    machine.write("cgroup/fleet/cpu.max", "50000 100000\n")
    assert cpu.allowed(machine.proc, machine.groups) == 0.5


def test_tasks_that_run_or_wait(machine: Machine) -> None:
    assert cpu.running(machine.proc) is None
    machine.write("proc/stat", "cpu  1 2 3\nintr 5 6\nctxt 7\nprocs_running 4\nprocs_blocked 2\nsoftirq 1\n")
    assert cpu.running(machine.proc) == 5
    here = cpu.running()
    assert here is not None
    assert here >= 0


def test_quotas_of_version_1(machine: Machine) -> None:
    machine.write("proc/self/cgroup", V1)
    for group, quota in (("", -1), ("fleet", 25000), ("fleet/node", -1)):
        machine.write(f"cgroup/cpu,cpuacct/{group}/cpu.cfs_quota_us", f"{quota}\n")
        machine.write(f"cgroup/cpu,cpuacct/{group}/cpu.cfs_period_us", "100000\n")
    assert cpu.allowed(machine.proc, machine.groups) == 0.25


def test_pressure_is_that_of_the_cgroup_and_else_of_the_machine(machine: Machine) -> None:
    line = "avg10={} avg60=1.00 avg300=2.00 total=3\n"
    text = "some " + line + "full " + line
    machine.write("proc/pressure/memory", text.format("12.50", "3.25"))
    assert pressure.read("memory", machine.proc, machine.groups) == (12.5, 3.25)
    machine.write("proc/self/cgroup", V2)
    machine.write("cgroup/cgroup.controllers", "memory\n")
    machine.write("cgroup/fleet/node/memory.pressure", text.format("0.00", "0.00"))
    assert pressure.read("memory", machine.proc, machine.groups) == (0.0, 0.0)
    machine.write("proc/pressure/cpu", "some " + line.format("7.00"))
    assert pressure.read("cpu", machine.proc, machine.groups) == (7.0, None)


def test_young_children_are_charged_in_full_and_a_peak_is_forgotten_slowly() -> None:
    estimate = children.estimated(0.0, [30 * MB, 80 * MB])
    assert estimate == 80 * MB
    assert children.claims(estimate, 50 * MB, {1: 80 * MB, 2: 30 * MB, 3: 0}) == (80 * MB, 130 * MB)
    assert children.claims(estimate, 100 * MB, {1: 80 * MB}) == (100 * MB, 20 * MB)
    later = estimate
    for _ in range(60):
        later = children.estimated(later, [30 * MB])
    assert 60 * MB < later < 80 * MB


def test_private_memory_of_a_real_process(until: Callable[..., Any]) -> None:
    code = f"held = bytearray({50 * MB}); print(len(held), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        found = children.private_bytes(child.pid)
        assert found is not None
        assert 50 * MB < found < 100 * MB
    finally:
        child.kill()
        child.wait()
    assert children.private_bytes(child.pid) is None


def test_a_real_limit_of_a_real_group_above_is_seen(tmp_path: Path) -> None:
    """Two groups, one in the other; the outer one has the limit, the process is in the inner one."""
    own = memory.of_process("memory")
    if own.version != 1 or not own.folders or not os.access(own.folders[0], os.W_OK):
        pytest.skip("no cgroup of memory that this user may divide")
    outer = own.folders[0] / f"celeryops-test-{os.getpid()}"
    inner = outer / "node"
    code = "import json; from celeryops.autoscale import memory; print(json.dumps(memory.read()))"
    script = 'echo $$ > "$1/cgroup.procs" && exec "$2" -c "$3"'
    outer.mkdir()
    try:
        inner.mkdir()
        (outer / "memory.limit_in_bytes").write_text(str(256 << 20))
        done = subprocess.run(
            ["sh", "-c", script, "sh", str(inner), sys.executable, code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        total, available = json.loads(done.stdout)
        assert total == 256 << 20
        assert (200 << 20) < available < (256 << 20)
    finally:
        for folder in (inner, outer):
            for _ in range(50):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)


def test_every_step_of_priority_of_every_queue_is_counted(own_server: Any) -> None:
    import redis

    client = redis.Redis(port=own_server.port)
    names = backlog.keys(["oak", "elm"], "grove:", {"priority_steps": [0, 5], "sep": ":"})
    assert names == ["grove:oak", "grove:oak:5", "grove:elm", "grove:elm:5"]
    assert backlog.keys(["oak"], "", None)[1] == "oak\x06\x163"
    for number, name in enumerate(names, 1):
        client.lpush(name, *range(number))
    client.lpush("grove:ash", 1)
    assert backlog.count(client, names) == 10
    assert backlog.count(client, []) == 0
