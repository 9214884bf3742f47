#!/usr/bin/env python3
"""What does a deploy cost that has nothing to do?

Deploys once, unmeasured, so that everything is as the inventory says. Then measures, in turns, a playbook of
one ping and the same deploy again. Every measured deploy must end with changed=0. The machine's speed cancels
out in the ratio of the two: that is what to compare between machines and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MOLECULE = ROOT / "molecule"
PING = """
- hosts: redis:celery_workers:celery_beat:celery_flower
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""
RECAP = re.compile(r"^(\S+)\s+: (ok=\d+.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    wall: float  # seconds
    cpu: float  # seconds, user and system, of ansible-playbook and all it started and waited for
    hosts: dict[str, dict[str, int]]  # the recap


def read_recap(output: str) -> dict[str, dict[str, int]]:
    """{host: {"ok": 41, "changed": 0, ...}} from the end of ansible-playbook's output."""
    _, _, recap = output.rpartition("PLAY RECAP")
    return {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)}
        for host, counts in RECAP.findall(recap)
    }


def play(playbook: str, arguments: list[str]) -> Run:
    """Run it to its end; leave with its output when it fails."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), playbook, *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    with tempfile.TemporaryFile("w+") as output:
        begun = time.perf_counter()
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        sys.exit(f"{text}\n{' '.join(command)} failed with {child.returncode}; nothing was measured.")
    return Run(wall, usage.ru_utime + usage.ru_stime, read_recap(text))


def changed(run: Run) -> int:
    return sum(counts["changed"] for counts in run.hosts.values())


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def summary(runs: list[Run], hosts: int) -> dict[str, object]:
    return {
        "wall_seconds": spread([run.wall for run in runs]),
        "cpu_seconds": spread([run.cpu for run in runs]),
        "cpu_seconds_per_host": spread([run.cpu / hosts for run in runs]),
        # Tasks that ran, and tasks whose condition was false: Ansible spends its time on the first.
        "tasks": {
            host: {"ran": counts["ok"], "skipped": counts["skipped"]}
            for host, counts in runs[-1].hosts.items()
        },
    }


def ratio(runs: list[Run], baseline: list[Run]) -> dict[str, float]:
    return {
        name: round(
            statistics.median(getattr(run, name) for run in runs)
            / statistics.median(getattr(run, name) for run in baseline),
            2,
        )
        for name in ("wall", "cpu")
    }


def scenario_arguments(name: str) -> list[str]:
    """Arguments of ansible-playbook that reach a Molecule scenario's hosts; sets the environment for them."""
    folder = MOLECULE / name
    if not (folder / "inventory").is_dir():
        sys.exit(f"{folder} is no scenario with an inventory.")
    os.environ["MOLECULE_PROJECT_DIRECTORY"] = str(ROOT)
    os.environ["MOLECULE_SCENARIO_DIRECTORY"] = str(folder)
    password = folder / "vault-password"
    return [
        *("-i", str(MOLECULE / "shared" / "inventory"), "-i", str(folder / "inventory")),
        *(["--vault-password-file", str(password)] if password.exists() else []),
    ]


def versions() -> dict[str, str | int | None]:
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--version"]
    first = subprocess.run(command, check=True, text=True, capture_output=True, cwd=ROOT).stdout.splitlines()[
        0
    ]
    return {
        "ansible": first,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="All other arguments go to ansible-playbook, such as -i path/to/inventory.",
    )
    parser.add_argument("--runs", type=int, default=5, help="how many of each (default: 5)")
    parser.add_argument(
        "--scenario", help="a Molecule scenario whose hosts are up (molecule converge -s SCENARIO)"
    )
    options, arguments = parser.parse_known_args()
    result_file = RESULTS / "noop_deploy.json"
    if options.scenario:
        arguments = scenario_arguments(options.scenario) + arguments
        result_file = RESULTS / f"noop_deploy_{options.scenario}.json"

    print("deploying once, unmeasured", flush=True)
    play("deploy.yml", arguments)
    pings: list[Run] = []
    deploys: list[Run] = []
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as ping:
        ping.write(PING)
        ping.flush()
        for number in range(1, options.runs + 1):
            pings.append(play(ping.name, arguments))
            deploys.append(play("deploy.yml", arguments))
            print(
                f"{number}: ping {pings[-1].wall:.1f} s, deploy {deploys[-1].wall:.1f} s wall,"
                f" {deploys[-1].cpu:.1f} s CPU, changed={changed(deploys[-1])}",
                flush=True,
            )
            if changed(deploys[-1]):
                sys.exit("This deploy had something to do, so its time says nothing about one that has not.")

    hosts = len(pings[-1].hosts)
    result = {
        **versions(),
        "runs": options.runs,
        "hosts": hosts,
        "deploy": summary(deploys, hosts),
        "ping": summary(pings, hosts),
        "deploy_over_ping": ratio(deploys, pings),
    }
    result_file.parent.mkdir(exist_ok=True)
    result_file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["deploy_over_ping"]), f"written to {result_file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
