"""Whether a node grows, holds or shrinks, and why. Pure: no I/O, no clock of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

MB = 1000**2
DEFAULT_RESERVE = 1000 * MB  # bytes; less where that is more than a tenth of the memory there is

STEADY, GROW, UNDER_MIN, OVER_MAX = "steady", "grow", "under_min", "over_max"
HOLD_MAX, HOLD_STALE, HOLD_COOLDOWN = "hold_max", "hold_stale", "hold_cooldown"
HOLD_MEMORY, HOLD_LOAD = "hold_memory", "hold_load"
HOLD_PSI_MEMORY, HOLD_PSI_CPU, HOLD_PSI_IO = "hold_psi_memory", "hold_psi_cpu", "hold_psi_io"
SHRINK_IDLE, SHRINK_MEMORY = "shrink_idle", "shrink_memory"
SHRINK_LOAD, SHRINK_PSI_MEMORY = "shrink_load", "shrink_psi_memory"


@dataclass(frozen=True)
class Limits:
    """The range of processes of a node."""

    min: int
    max: int


@dataclass(frozen=True)
class Guards:
    """What holds a node back within its limits.

    Parameters:
        memory_reserve: Bytes that stay free for others; None for a tenth of the memory there is, at most
            1 GB. Below half of it the node retreats.
        child_memory: Bytes that one more process is expected to need at least.
        load_per_cpu: Load for each allowed CPU from which on the node does not grow, be it that of the last
            minute or of the last seconds; when both are twice of it, it retreats. 0: no matter.
        psi_memory, psi_cpu, psi_io: Percent of the last 10 s in which some task of the machine or cgroup
            waited for the resource, from which on the node does not grow. 0: no matter. From twice of
            `psi_memory` on, or when all tasks waited for that share, it retreats.
        backlog: Messages that may wait for each process.
        queue_wait: Seconds that a message may wait; it replaces `backlog` once the time of a task is known.
        grow_step, shrink_step: Most processes that start, or end under pressure, at once.
        cooldown: Seconds between two retreats under pressure, and from one until the node grows again.
        idle: Seconds for which fewer processes must have sufficed before some end.
        stale: Age of a sample in seconds from which on nothing is decided by it.
    """

    memory_reserve: int | None = None
    child_memory: int = 64 * MB
    load_per_cpu: float = 2.0
    psi_memory: float = 10.0
    psi_cpu: float = 0.0
    psi_io: float = 50.0
    backlog: int = 1
    queue_wait: float | None = None
    grow_step: int = 4
    shrink_step: int = 2
    cooldown: float = 5.0
    idle: float = 30.0
    stale: float = 5.0

    def reserve(self, memory_total: int) -> int:
        """Bytes that stay free on a machine with so many."""
        if self.memory_reserve is not None:
            return self.memory_reserve
        tenth = memory_total // 10
        return min(DEFAULT_RESERVE, tenth)


@dataclass(frozen=True)
class Sample:
    """The machine at one moment.

    Parameters:
        at: Monotonic time in seconds.
        memory_total, memory_available: Bytes that all limits above this process allow, and leave. -1 where
            the platform does not say: memory then holds nothing back.
        committed: Bytes that the children there are will still claim.
        child_estimate: Bytes that one more child will claim.
        cpus: CPUs that the process may use.
        load: Load average of a minute.
        running: What the load average is the mean of, over the last seconds; None where that is not known.
            The load of a minute says too late what growth has done to the machine, and for too long.
        psi_memory_some, psi_memory_full, psi_cpu_some, psi_io_some: Percent, None where the kernel has none.
        children: Children of the pool that were looked at. Those that have begun since, or will, are charged
            by the decision.
        queued: Messages in the queues, None when Redis did not answer.
        errors: What could not be looked at, and why.
    """

    at: float
    memory_total: int
    memory_available: int
    committed: int
    child_estimate: int
    children: int
    cpus: float
    load: float
    psi_memory_some: float | None = None
    psi_memory_full: float | None = None
    psi_cpu_some: float | None = None
    psi_io_some: float | None = None
    running: float | None = None
    queued: int | None = None
    errors: tuple[str, ...] = ()


class Demand(NamedTuple):
    """What the worker knows at this moment.

    `processes` holds those that are still to be forked, `reserved` the active messages too.
    """

    processes: int
    active: int
    reserved: int
    task_seconds: float | None = None


class Past(NamedTuple):
    """What a decision must know of those before it; times are monotonic."""

    retreated: float = -math.inf  # when the node last shrank under pressure
    watched: float | None = None  # since when the work is known without a gap
    #: The most that were wanted in the time that `Guards.idle` looks back: (when, how many), each more than
    #: those after it.
    peaks: tuple[tuple[float, int], ...] = ()


class Decision(NamedTuple):
    """`change` processes more or fewer, and why.

    `want` is how many the work asks for, within the limits; `fit` how many more the memory has room for;
    `limit` for how many processes the node may reserve messages.
    """

    change: int
    reason: str
    want: int
    fit: int
    limit: int


def decide(
    now: float, limits: Limits, guards: Guards, sample: Sample | None, demand: Demand, past: Past
) -> tuple[Decision, Past]:
    """The next step.

    Up to `limits.min` a node grows whatever the machine is like, for the operator has asked for as many.
    Beyond it nothing grows by a sample that is missing, stale or shows pressure.
    """
    processes = demand.processes
    if processes > limits.max:
        return Decision(limits.max - processes, OVER_MAX, limits.max, 0, limits.max), past
    if processes < limits.min:
        step = min(limits.min - processes, guards.grow_step)
        return Decision(step, UNDER_MIN, limits.min, 0, processes + step), past
    if sample is None or now - sample.at > guards.stale:
        return Decision(0, HOLD_STALE, processes, 0, processes), Past(past.retreated)

    want = wanted(limits, guards, sample.queued, demand)
    reserve = guards.reserve(sample.memory_total)
    fit = _fit(reserve, sample, processes)
    retreat = _retreat(reserve, guards, sample)
    if retreat:
        past = Past(past.retreated)
        if processes == limits.min:
            return Decision(0, retreat.replace("shrink", "hold"), want, 0, processes), past
        if now - past.retreated < guards.cooldown:
            return Decision(0, HOLD_COOLDOWN, want, 0, processes), past
        step = min(guards.shrink_step, processes - limits.min)
        return Decision(-step, retreat, want, 0, processes - step), Past(now)
    if sample.queued is None:
        # The work is not known, so neither more nor fewer processes are right.
        return Decision(0, HOLD_STALE, processes, 0, processes), Past(past.retreated)

    past = _watch(now, guards.idle, want, past)
    why = _hold(now, guards, sample, fit, past)
    room = 0 if why else min(fit, limits.max - processes)
    limit = processes + room
    if want < processes:
        peak = past.peaks[0][1]
        if peak < processes and past.watched is not None and now - past.watched >= guards.idle:
            return Decision(peak - processes, SHRINK_IDLE, want, fit, limit), past
        return Decision(0, STEADY, want, fit, limit), past
    if want == processes:
        at_max = processes == limits.max and demand.reserved > processes
        return Decision(0, HOLD_MAX if at_max else STEADY, want, fit, limit), past
    if why:
        return Decision(0, why, want, fit, processes), past
    step = min(want - processes, guards.grow_step, fit)
    return Decision(step, GROW, want, fit, limit), past


def _watch(now: float, window: float, want: int, past: Past) -> Past:
    peaks = past.peaks
    while peaks and peaks[-1][1] <= want:
        peaks = peaks[:-1]
    while peaks and peaks[0][0] < now - window:
        peaks = peaks[1:]
    watched = now if past.watched is None else past.watched
    return Past(past.retreated, watched, (*peaks, (now, want)))


def wanted(limits: Limits, guards: Guards, queued: int | None, demand: Demand) -> int:
    """The processes that the work asks for, within the limits."""
    waiting = demand.reserved - demand.active + (queued or 0)
    if guards.queue_wait and demand.task_seconds is not None:
        # So many at work end all that waits in that time.
        work = max(demand.active, math.ceil(waiting * demand.task_seconds / guards.queue_wait))
        work = max(work, 1) if waiting else work
    else:
        work = demand.active - (-waiting // guards.backlog)
    if work > limits.max:
        return limits.max
    return max(limits.min, work)


def _fit(reserve: int, sample: Sample, processes: int) -> int:
    """Further processes for which there is memory."""
    if sample.memory_available < 0:
        return 1_000_000
    fit = (sample.memory_available - reserve - sample.committed) // (sample.child_estimate or 1)
    if processes > sample.children:
        fit -= processes - sample.children
    return max(0, fit)


def _retreat(reserve: int, guards: Guards, sample: Sample) -> str:
    """Why the node must have fewer processes, or nothing."""
    if 0 <= sample.memory_available < reserve // 2:
        return SHRINK_MEMORY
    if guards.psi_memory and (
        (sample.psi_memory_some or 0) >= 2 * guards.psi_memory
        or (sample.psi_memory_full or 0) >= guards.psi_memory
    ):
        return SHRINK_PSI_MEMORY
    if guards.load_per_cpu:
        bound = 2 * guards.load_per_cpu * sample.cpus
        if sample.load >= bound and (sample.running is None or sample.running >= bound):
            return SHRINK_LOAD
    return ""


def _hold(now: float, guards: Guards, sample: Sample, fit: int, past: Past) -> str:
    """Why the node must not have more processes, or nothing."""
    if fit <= 0:
        return HOLD_MEMORY
    if guards.psi_memory and (sample.psi_memory_some or 0) >= guards.psi_memory:
        return HOLD_PSI_MEMORY
    if guards.load_per_cpu:
        bound = guards.load_per_cpu * sample.cpus
        if sample.load >= bound or (sample.running or 0) >= bound:
            return HOLD_LOAD
    if guards.psi_cpu and (sample.psi_cpu_some or 0) >= guards.psi_cpu:
        return HOLD_PSI_CPU
    if guards.psi_io and (sample.psi_io_some or 0) >= guards.psi_io:
        return HOLD_PSI_IO
    if now - past.retreated < guards.cooldown:
        return HOLD_COOLDOWN
    return ""


def is_held(decision: Decision, processes: int) -> bool:
    """Whether there is work for more processes, and the machine does not allow them."""
    return decision.want > processes and decision.reason.startswith("hold_") and decision.reason != HOLD_MAX


def explain(reason: str, limits: Limits, guards: Guards, sample: Sample | None) -> str:
    """The reason in words, with the figures that it rests on and the name of the guard."""
    if sample is None or reason == HOLD_STALE:
        if sample is not None and sample.errors:
            return ", ".join(sample.errors)
        return "nothing is known of the machine at present"
    free, reserve = sample.memory_available // MB, guards.reserve(sample.memory_total) // MB
    memory = (
        f"{free} MB of memory available, {sample.committed // MB} MB of them for processes that still grow, "
        f"{sample.child_estimate // MB} MB for one more, memory_reserve is {reserve} MB"
    )
    now = "" if sample.running is None else f", {sample.running:.1f} of the last seconds,"
    load = f"load {sample.load:.1f}{now} on {sample.cpus:g} CPUs, load_per_cpu is {guards.load_per_cpu:g}"
    psi_memory = (
        f"some task waited for memory {sample.psi_memory_some or 0:g} % of the time, "
        f"psi_memory is {guards.psi_memory:g} %"
    )
    return {
        STEADY: "as many processes as the work asks for",
        GROW: "more work than processes",
        UNDER_MIN: f"fewer processes than min, {limits.min}",
        OVER_MAX: f"more processes than max, {limits.max}",
        HOLD_MAX: f"as many processes as max allows, {limits.max}",
        HOLD_COOLDOWN: f"it has just retreated, cooldown is {guards.cooldown:g} s",
        HOLD_MEMORY: memory,
        SHRINK_MEMORY: memory,
        HOLD_LOAD: load,
        SHRINK_LOAD: load,
        HOLD_PSI_MEMORY: psi_memory,
        SHRINK_PSI_MEMORY: psi_memory,
        HOLD_PSI_CPU: f"some task waited for a CPU {sample.psi_cpu_some or 0:g} % of the time, "
        f"psi_cpu is {guards.psi_cpu:g} %",
        HOLD_PSI_IO: f"some task waited for a disk {sample.psi_io_some or 0:g} % of the time, "
        f"psi_io is {guards.psi_io:g} %",
        SHRINK_IDLE: f"fewer processes have sufficed for {guards.idle:g} s",
    }[reason]
