# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes as background processes with a pidfile: workers by `celery multi`, beat and Flower detached.

Neither an exit code nor a pidfile is believed. `celery multi` ends with 0 whatever happened, and a pidfile
outlives its process, whose number then goes to a stranger. A node is up when its process carries the
fingerprint that is wanted and has written its record into Redis (or, with `listen`, accepts connections).
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import size, tail
from ansible_collections.celeryops.fleet.plugins.module_utils.listening import accepts
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import (
    explain,
    processes,
    reconcile,
    records,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.jobs import (
    DONE,
    STARTING,
    STOPPED,
    STOPPING,
    Job,
    Reader,
    StatusReader,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.launchers import Launcher
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.nodefiles import (
    env_file_names,
    node_files,
    remove_files,
    unit_name,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import Process
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import (
    Manager,
    Observed,
    Outcome,
    Step,
    Wanted,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.rundir import RunDir

# Kinds which are one process of their own, not a node of a pool.
SINGLE = ("beat", "flower")

# How often the nodes' own processes are looked at; a look costs well below a millisecond for each.
LOOK_SECONDS = 0.2

# How often all processes of the host are; that costs about a quarter of a millisecond for each of them.
SCAN_SECONDS = 1.0

# What the kernel may take to end a killed process.
KILL_SECONDS = 5.0


class Multi(Manager):
    """This host's nodes of one kind as background processes."""

    name = "multi"

    def __init__(
        self,
        fleet: str,
        kind: str,
        etc_dir: str,
        run_dir: str,
        log_dir: str,
        launcher: Launcher,
        status: StatusReader | None = None,
        leftovers: Sequence[str] = (),
        inside: str = "",
        stop_timeout: int = 600,
        leaving: bool = False,
    ) -> None:
        """status: reads the records. inside: the unit whose control group the processes must be in.

        leaving: all nodes move to systemd, so what they share with their units (environment files) stays.
        """
        self.fleet = fleet
        self.kind = kind
        self.etc_dir = etc_dir
        self.run_dir = run_dir
        self.files = RunDir(run_dir)
        self.log_dir = log_dir
        self.launcher = launcher
        self.status = status
        self.leftovers = tuple(leftovers)
        self.inside = inside
        self.stop_timeout = stop_timeout
        self.leaving = leaving
        self.found: dict[str, list[Process]] = {}
        self._scanned: list[Process] = []
        self._scanned_at = float("-inf")

    # names

    def logfile(self, node: str) -> str:
        return os.path.join(self.log_dir, f"{node}.log")

    def _is_of_kind(self, node: str) -> bool:
        return (node not in SINGLE) if self.kind == "worker" else node == self.kind

    # observing

    def observe(self, wanted: Sequence[Wanted]) -> list[Observed]:
        everything = processes.read_many(processes.all_pids())
        mains: dict[str, list[Process]] = {}
        for process in processes.mains(everything, self.fleet, self.run_dir):
            if not self._is_in_own_unit(process):
                mains.setdefault(str(process.get(processes.NODE)), []).append(process)
        nodenames = {node.name: node.nodename for node in wanted}
        names = {*nodenames, *mains, *self._names_on_disk()}
        observed = []
        self.found = {}
        for node in sorted(name for name in names if self._is_of_kind(name)):
            observed += self._observe_node(node, nodenames.get(node, ""), everything, mains.get(node, []))
        return observed

    def _names_on_disk(self) -> set[str]:
        names: set[str] = set()
        if not self.leaving:
            names.update(env_file_names(self.etc_dir))
            names.update(one for one in SINGLE if os.path.exists(node_files(self.etc_dir, one, one)[0]))
        return names | self.files.names()

    def _observe_node(
        self, node: str, nodename: str, everything: Mapping[int, Process], mains: Sequence[Process]
    ) -> list[Observed]:
        home = everything.get(self.files.pid(node))
        if home is not None and not self._is_ours(home, node, nodename):
            home = None
        traces = self._traces(node)
        strays = [one for one in mains if home is None or one.pid != home.pid]
        ours = ([home] if home is not None else []) + strays
        if not ours:
            return [Observed(node, traces=traces)] if traces else []
        self.found[node] = ours
        return [
            Observed(
                name=node,
                pid=one.pid,
                fingerprint=one.get(processes.FINGERPRINT),
                state=reconcile.STOPPING if self.files.was_asked_to_stop(node, one) else reconcile.RUNNING,
                home=one is home and not self._is_outside(one),
                detail=f"runs outside {self.inside}" if self._is_outside(one) else "",
                traces=traces,
            )
            for one in ours
        ]

    def _is_ours(self, process: Process, node: str, nodename: str) -> bool:
        return processes.is_node(process, self.fleet, node, (self.files.pidfile(node), nodename))

    def _is_in_own_unit(self, process: Process) -> bool:
        """Such a process is the systemd manager's to look after: a signal would only make it restart."""
        return f"/{unit_name(self.fleet, self.kind, str(process.get(processes.NODE)))}" in process.cgroup

    def _is_outside(self, process: Process) -> bool:
        return bool(self.inside) and self.inside not in process.cgroup

    def _traces(self, node: str) -> tuple[str, ...]:
        paths = [self.files.pidfile(node), self.files.stopping_mark(node)]
        if not self.leaving:
            paths += node_files(self.etc_dir, self.kind, node, self.leftovers)
        return tuple(path for path in paths if os.path.lexists(path))

    # acting

    def obstacles(self, steps: Sequence[Step]) -> list[str]:
        command = self.launcher.command
        if os.access(command, os.X_OK) or not any(step.wanted and step.changes for step in steps):
            return []
        return [f"{command} is not there or may not be executed, so no node can be started. Render it first."]

    def apply(self, steps: Sequence[Step]) -> Outcome:
        """Every node goes its own way at its own pace: a new one need not wait for an old one to drain."""
        outcome = Outcome()
        jobs = [Job(step, self.found.get(step.name, []), self.stop_timeout) for step in steps]
        for job in jobs:
            self._begin(job, outcome)
        reader = Reader(self.status)
        while any(job.busy for job in jobs):
            for job in jobs:
                if job.phase == STOPPING:
                    self._await_stop(job, reader, outcome)
            self._launch(jobs)
            alive = self._alive(jobs)
            for job in jobs:
                if job.phase == STARTING:
                    job.look(job.name in alive)
            for job in jobs:
                if job.phase == STARTING:
                    self._await_ready(job, alive.get(job.name), reader, outcome)
            if any(job.busy for job in jobs):
                time.sleep(LOOK_SECONDS)
        self.launcher.finish()
        return outcome

    def _begin(self, job: Job, outcome: Outcome) -> None:
        action = job.step.action
        if action == reconcile.ADOPT and self.files.adopt(job.name, *job.processes):
            outcome.adopted.append(job.name)
            action = reconcile.KEEP
        if action == reconcile.KEEP:
            job.to(STARTING, job.start_timeout)
            job.log_offset = size(self.logfile(job.name))
        elif job.processes:
            for process in job.processes:
                self.files.ask_to_stop(job.name, process)
            job.to(STOPPING, job.stop_timeout)
        else:
            job.to(STOPPING, 0)

    def _await_stop(self, job: Job, reader: Reader, outcome: Outcome) -> None:
        left = [process for process in job.processes if processes.still_there(process)]
        if left:
            if job.is_late and self.kind != "worker" and not job.killed:
                self._kill(job, left, outcome)
            elif job.is_late:
                outcome.failures.append(self._why_not_stopped(job, left, reader))
                job.to(DONE)
            return
        self.files.forget(job.name)
        if job.step.action == reconcile.REMOVE:
            remove_files(job.step)
            outcome.removed.append(job.name)
            if job.step.running:
                outcome.stopped.append(job.name)
            job.to(DONE)
        else:
            job.to(STOPPED)

    def _kill(self, job: Job, left: Sequence[Process], outcome: Outcome) -> None:
        """Beat and Flower hold no task that could be lost."""
        for process in left:
            processes.terminate(process, signal.SIGKILL)
        job.killed = True
        job.deadline = time.monotonic() + KILL_SECONDS
        outcome.warnings.append(f"{job.name} had not stopped within {job.stop_timeout} s and was killed.")

    def _launch(self, jobs: Sequence[Job]) -> None:
        ready = [job for job in jobs if job.phase == STOPPED]
        if not ready:
            return
        for job in ready:
            job.log_offset = size(self.logfile(job.name))
        by_name = {job.name: job for job in ready}
        for steps, launch in self.launcher.launch([job.step for job in ready]):
            for step in steps:
                job = by_name[step.name]
                job.launch = launch
                job.to(STARTING, job.start_timeout)

    def _alive(self, jobs: Sequence[Job]) -> dict[str, Process]:
        """The process of every starting node: its pidfile's or, before that exists, any of its own."""
        starting = [job for job in jobs if job.phase == STARTING]
        pids = {job.name: self.files.pid(job.name) for job in starting}
        homes = processes.read_many(pid for pid in pids.values() if pid)
        found: dict[str, Process] = {}
        for job in starting:
            home = homes.get(pids[job.name])
            nodename = job.step.wanted.nodename if job.step.wanted else ""
            if home is not None and self._is_ours(home, job.name, nodename):
                found[job.name] = home
        missing = [job for job in starting if job.name not in found and job.is_launched]
        if missing:
            any_of = self._any_process()
            found.update({job.name: any_of[job.name] for job in missing if job.name in any_of})
        return found

    def _any_process(self) -> dict[str, Process]:
        """For every node some process of it that lives, from a scan which is SCAN_SECONDS old at most."""
        if time.monotonic() - self._scanned_at > SCAN_SECONDS:
            self._scanned_at = time.monotonic()
            self._scanned = [
                one
                for one in processes.read_many(processes.all_pids()).values()
                if processes.belongs(one, self.fleet, self.run_dir)
            ]
        living = [one for one in self._scanned if processes.still_there(one)]
        return {str(one.get(processes.NODE)): one for one in living}

    def _await_ready(self, job: Job, process: Process | None, reader: Reader, outcome: Outcome) -> None:
        problem = self._not_ready(job, process, reader)
        if not problem:
            _report(job.step, job.launch is not None, outcome)
            job.to(DONE)
            return
        if process is None and job.has_vanished:
            problem = "its process has ended"
        elif not job.is_late and not _is_another(process, job):
            return
        outcome.failures.append(self._why_not_ready(job, problem))
        job.to(DONE)

    def _not_ready(self, job: Job, process: Process | None, reader: Reader) -> str:
        """Why a node is not ready yet; empty when it is."""
        wanted = job.step.wanted
        if wanted is None:
            return ""
        if process is None:
            return "it has no process"
        if process.get(processes.FINGERPRINT) != wanted.fingerprint:
            return explain.wrong_fingerprint(
                f"process {process.pid}",
                process.get(processes.FINGERPRINT),
                wanted.fingerprint,
                node_files(self.etc_dir, self.kind, job.name)[0],
            )
        if self.files.pid(job.name) != process.pid:
            return f"process {process.pid} has not written {self.files.pidfile(job.name)}"
        if self.inside and self._is_outside(process):
            return f"process {process.pid} is not in the control group of {self.inside}"
        if wanted.listen and not accepts(wanted.listen):
            return f"nothing accepts connections on {wanted.listen}"
        if self.kind == "flower" or self.status is None:
            return ""
        status, error = reader.read()
        if status is None:
            return error
        record = records.of_process(status, process.pid, wanted.fingerprint, wanted.nodename)
        if records.is_ready(record):
            return ""
        return records.describe(record or records.of_node(status, wanted.nodename))

    # reporting

    def _why_not_ready(self, job: Job, problem: str) -> str:
        name = job.step.wanted.nodename if job.step.wanted and job.step.wanted.nodename else job.name
        waited = f" after {job.start_timeout} s" if job.is_late else ""
        said = {}
        output = job.launch.output() if job.launch is not None else ""
        if output:
            said["What its start printed"] = "\n".join(output.splitlines()[-30:])
        log = self.logfile(job.name)
        said[f"Last lines of {log}"] = tail(log, offset=0 if job.launch is None else job.log_offset)
        return explain.not_ready(name, f"{waited}: {problem}", said)

    def _why_not_stopped(self, job: Job, left: Sequence[Process], reader: Reader) -> str:
        pids = [process.pid for process in left]
        status, _error = reader.read()
        active: Any = None
        for record in records.all_records(status or {}):
            if record.get("pid") in pids:
                active = record.get("active")
        return explain.not_stopped(job.name, pids, job.stop_timeout, active)


def _is_another(process: Process | None, job: Job) -> bool:
    """Whether a process carries another fingerprint than is wanted: that does not change while it lives.

    One without any may have been looked at in the middle of its exec, whose environment is still empty.
    """
    carried = process.get(processes.FINGERPRINT) if process else None
    return bool(carried and job.step.wanted and carried != job.step.wanted.fingerprint)


def _report(step: Step, launched: bool, outcome: Outcome) -> None:
    if step.action == reconcile.START:
        outcome.started.append(step.name)
    elif step.action == reconcile.RESTART or (step.action == reconcile.ADOPT and launched):
        outcome.restarted.append(step.name)
