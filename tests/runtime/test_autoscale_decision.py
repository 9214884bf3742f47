"""The decision of the autoscaler, as a pure function."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from celeryops.autoscale import decision as d
from celeryops.autoscale.decision import Decision, Demand, Guards, Limits, Past, Sample, decide
from celeryops.autoscale.settings import SettingsError, parse
from hypothesis import given, settings
from hypothesis import strategies as st

# How long an example takes depends on what else the machine does.
settings.register_profile("celeryops", deadline=None)
settings.load_profile("celeryops")

GB = 1000**3
MB = 1000**2
CALM = Sample(
    at=100.0,
    memory_total=16 * GB,
    memory_available=8 * GB,
    committed=0,
    child_estimate=100 * MB,
    children=40,
    cpus=4.0,
    load=0.5,
    psi_memory_some=0.0,
    psi_memory_full=0.0,
    psi_cpu_some=0.0,
    psi_io_some=0.0,
    queued=0,
)
LIMITS = Limits(1, 8)
GUARDS = Guards()
NO_PAST = Past()


def step(
    processes: int = 1,
    active: int = 0,
    reserved: int = 0,
    limits: Limits = LIMITS,
    guards: Guards = GUARDS,
    sample: Sample | None = CALM,
    past: Past = NO_PAST,
    now: float = 100.5,
    **seen: Any,
) -> Decision:
    if sample is not None and seen:
        sample = dataclasses.replace(sample, **seen)
    return decide(now, limits, guards, sample, Demand(processes, active, reserved), past)[0]


@pytest.mark.parametrize(
    "seen, reason",
    [
        ({"memory_available": 1050 * MB}, d.HOLD_MEMORY),
        ({"committed": 7 * GB}, d.HOLD_MEMORY),
        ({"load": 8.0}, d.HOLD_LOAD),
        ({"running": 8.0}, d.HOLD_LOAD),
        ({"load": 16.0, "running": 15.0}, d.HOLD_LOAD),
        ({"psi_memory_some": 10.0}, d.HOLD_PSI_MEMORY),
        ({"psi_io_some": 50.0}, d.HOLD_PSI_IO),
    ],
)
def test_it_holds_under_each_pressure_and_reserves_for_what_it_has(seen: dict[str, Any], reason: str) -> None:
    made = step(processes=3, active=3, reserved=3, queued=40, **seen)
    assert (made.change, made.reason, made.want, made.limit) == (0, reason, 8, 3)


def test_psi_of_the_cpu_counts_where_it_is_asked_for() -> None:
    assert step(active=1, reserved=1, queued=9, psi_cpu_some=95.0).reason == d.GROW
    held = step(active=1, reserved=1, queued=9, psi_cpu_some=95.0, guards=Guards(psi_cpu=80.0))
    assert held.reason == d.HOLD_PSI_CPU


@pytest.mark.parametrize(
    "seen, reason",
    [
        ({"memory_available": 400 * MB}, d.SHRINK_MEMORY),
        ({"load": 16.0}, d.SHRINK_LOAD),
        ({"load": 16.0, "running": 16.0}, d.SHRINK_LOAD),
        ({"psi_memory_some": 20.0}, d.SHRINK_PSI_MEMORY),
        ({"psi_memory_full": 10.0}, d.SHRINK_PSI_MEMORY),
    ],
)
def test_it_retreats_step_by_step(seen: dict[str, Any], reason: str) -> None:
    made = step(processes=8, active=8, reserved=8, queued=40, **seen)
    assert (made.change, made.reason, made.limit) == (-2, reason, 6)
    again = step(processes=6, active=6, reserved=6, queued=40, past=Past(retreated=98.0), **seen)
    assert (again.change, again.reason) == (0, d.HOLD_COOLDOWN)
    assert step(processes=1, reserved=1, queued=40, **seen).reason == reason.replace("shrink", "hold")


def test_it_grows_with_the_work_by_steps_and_only_as_far_as_there_is_room() -> None:
    assert step(active=1, reserved=1, queued=2).change == 2
    assert step(active=1, reserved=1, queued=40).change == 4
    made = step(active=1, reserved=1, queued=40, memory_available=1250 * MB)
    assert (made.change, made.fit, made.limit) == (2, 2, 3)
    assert step(processes=8, active=8, reserved=9, queued=40).reason == d.HOLD_MAX


def test_children_that_the_sample_has_not_seen_are_charged_in_full() -> None:
    seen = {"memory_available": 1350 * MB, "queued": 40, "children": 1}
    guards = Guards(grow_step=2)
    assert step(processes=1, active=1, reserved=1, guards=guards, **seen).change == 2
    assert step(processes=3, active=1, reserved=1, guards=guards, **seen).change == 1
    full = step(processes=4, active=1, reserved=1, guards=guards, **seen)
    assert (full.change, full.reason) == (0, d.HOLD_MEMORY)


def test_without_a_word_from_the_queues_it_neither_grows_nor_ends_idle_processes() -> None:
    held = step(processes=3, active=3, reserved=9, queued=None, errors=("the queues cannot be read: x",))
    assert (held.change, held.reason, held.limit) == (0, d.HOLD_STALE, 3)
    long_idle = Past(watched=0.0, peaks=((99.0, 1),))
    assert step(processes=3, queued=None, past=long_idle).change == 0
    pressed = step(processes=3, queued=None, memory_available=400 * MB)
    assert (pressed.change, pressed.reason) == (-2, d.SHRINK_MEMORY)


def test_more_messages_may_wait_for_a_process_where_that_is_asked_for() -> None:
    assert step(active=1, reserved=1, queued=40, guards=Guards(backlog=20)).want == 3
    demand = Demand(1, 1, 1, task_seconds=2.0)
    seen = dataclasses.replace(CALM, queued=30)
    assert decide(100.5, LIMITS, Guards(queue_wait=20.0), seen, demand, Past())[0].want == 3


@pytest.mark.parametrize("sample", [None, dataclasses.replace(CALM, at=90.0, queued=50)])
def test_nothing_is_decided_without_a_fresh_look(sample: Sample | None) -> None:
    made = step(processes=3, active=3, reserved=3, sample=sample)
    assert (made.change, made.reason, made.limit) == (0, d.HOLD_STALE, 3)


def test_limits_come_before_everything() -> None:
    assert step(processes=8, active=8, limits=Limits(1, 3)).change == -5
    under = step(processes=1, limits=Limits(3, 8), memory_available=0)
    assert (under.change, under.reason) == (2, d.UNDER_MIN)


def test_idle_processes_go_when_fewer_have_sufficed_for_long() -> None:
    past, made = Past(), None
    for second, active in enumerate([1, 3, 1, 1, 1]):
        seen = dataclasses.replace(CALM, at=100.0 + second)
        made, past = decide(100.0 + second, LIMITS, Guards(idle=4.0), seen, Demand(8, active, active), past)
    assert made is not None
    assert (made.change, made.reason) == (-5, d.SHRINK_IDLE)


def test_idle_processes_go_when_the_last_that_was_wanted_is_long_ago_not_later() -> None:
    """Tasks that end one after the other: the window looks back from now, it does not begin anew."""
    past, processes, last = Past(), 8, 0.0
    for second in range(30):
        active = max(0, 8 - second)
        seen = dataclasses.replace(CALM, at=100.0 + second)
        made, past = decide(
            100.0 + second, LIMITS, Guards(idle=10.0), seen, Demand(processes, active, active), past
        )
        processes += made.change
        last = second if made.change else last
        assert processes >= max(active, 1)
    # The last task that needed more than one process was seen in second 6.
    assert (processes, last) == (1, 17)


def test_every_reason_can_be_told() -> None:
    reasons = {value for name, value in vars(d).items() if name.isupper() and isinstance(value, str)}
    for reason in reasons:
        assert d.explain(reason, LIMITS, Guards(), CALM)
    assert "not known" not in d.explain(d.HOLD_MEMORY, LIMITS, Guards(), CALM)
    assert "no answer" in d.explain(
        d.HOLD_STALE, LIMITS, Guards(), dataclasses.replace(CALM, errors=("no answer",))
    )


maybe_percent = st.none() | st.floats(0, 100)
samples = st.builds(
    Sample,
    at=st.floats(0, 1000),
    memory_total=st.integers(-1, 64 * GB),
    memory_available=st.integers(-1, 64 * GB),
    committed=st.integers(0, 8 * GB),
    child_estimate=st.integers(1, GB),
    children=st.integers(0, 60),
    cpus=st.floats(0.1, 64),
    load=st.floats(0, 500),
    running=st.none() | st.floats(0, 500),
    psi_memory_some=maybe_percent,
    psi_memory_full=maybe_percent,
    psi_cpu_some=maybe_percent,
    psi_io_some=maybe_percent,
    queued=st.none() | st.integers(0, 10_000),
)
guards = st.builds(
    Guards,
    memory_reserve=st.none() | st.integers(0, 8 * GB),
    child_memory=st.integers(1, GB),
    load_per_cpu=st.floats(0, 8),
    psi_memory=st.floats(0, 100),
    psi_cpu=st.floats(0, 100),
    psi_io=st.floats(0, 100),
    backlog=st.integers(1, 50),
    queue_wait=st.none() | st.floats(0.1, 600),
    grow_step=st.integers(1, 16),
    shrink_step=st.integers(1, 16),
    cooldown=st.floats(0, 60),
    idle=st.floats(0.1, 60),
)
limits = st.tuples(st.integers(0, 20), st.integers(1, 40)).map(lambda two: Limits(min(two), max(*two, 1)))
demands = st.tuples(st.integers(0, 60), st.integers(0, 60), st.none() | st.floats(0, 100)).flatmap(
    lambda three: st.integers(three[1], 80).map(
        lambda reserved: Demand(three[0], three[1], reserved, three[2])
    )
)
pasts = st.builds(
    Past,
    retreated=st.floats(0, 1000),
    watched=st.none() | st.floats(0, 1000),
    peaks=st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 40)), max_size=8).map(tuple),
)


@given(st.floats(0, 1100), limits, guards, st.none() | samples, demands, pasts)
def test_never_above_max_nor_below_min_and_never_further_from_them(
    now: float, limits: Limits, guards: Guards, sample: Sample | None, demand: Demand, past: Past
) -> None:
    made, _ = decide(now, limits, guards, sample, demand, past)
    after = demand.processes + made.change
    assert made.limit <= max(limits.max, limits.min)
    if limits.min <= demand.processes <= limits.max:
        assert limits.min <= after <= limits.max
    else:
        assert abs(made.change) > 0
        assert min(demand.processes, limits.min) <= after <= max(demand.processes, limits.max)


@given(st.floats(0, 1100), limits, guards, st.none() | samples, demands, pasts)
def test_beyond_min_nothing_grows_by_pressure_or_by_an_old_sample(
    now: float, limits: Limits, guards: Guards, sample: Sample | None, demand: Demand, past: Past
) -> None:
    made, _ = decide(now, limits, guards, sample, demand, past)
    if made.change <= 0 or made.reason == d.UNDER_MIN:
        return
    assert sample is not None
    assert now - sample.at <= guards.stale
    for load in (sample.load, sample.running or 0):
        assert not guards.load_per_cpu or load < guards.load_per_cpu * sample.cpus
    for value, bound in (
        (sample.psi_memory_some, guards.psi_memory),
        (sample.psi_cpu_some, guards.psi_cpu),
        (sample.psi_io_some, guards.psi_io),
    ):
        assert not bound or value is None or value < bound
    if sample.memory_available >= 0:
        unseen = max(0, demand.processes - sample.children) + made.change
        claimed = sample.committed + unseen * sample.child_estimate
        assert sample.memory_available - claimed >= guards.reserve(sample.memory_total)


@given(limits, guards, samples, st.integers(0, 40), st.integers(0, 200))
def test_constant_input_leads_to_rest(
    limits: Limits, guards: Guards, sample: Sample, processes: int, tasks: int
) -> None:
    """No change of direction: the same machine and the same work never make it grow and shrink in turns."""
    past, changes, now = Past(), [], 0.0
    for _ in range(200):
        seen = dataclasses.replace(sample, at=now, queued=max(0, tasks - processes))
        active = min(tasks, processes)
        made, past = decide(now, limits, guards, seen, Demand(processes, active, active), past)
        processes += made.change
        changes.append(made.change)
        now += 1.0
    inside = [change for change in changes[60:] if change]
    assert all(change > 0 for change in inside) or all(change < 0 for change in inside)


@given(
    free=st.integers(0, 8 * GB),
    size=st.integers(MB, GB),
    lag=st.integers(0, 5),
    tasks=st.integers(0, 100),
    highest=st.integers(1, 40),
    guards=guards,
)
def test_a_machine_that_the_node_itself_fills_is_not_overfilled_and_comes_to_rest(
    free: int, size: int, lag: int, tasks: int, highest: int, guards: Guards
) -> None:
    """Each process takes `size` bytes, `lag` steps after its start; what it is charged is right."""
    guards = dataclasses.replace(guards, load_per_cpu=0, psi_memory=0, psi_cpu=0, psi_io=0)
    past, changes, ages, now = Past(), [], [lag], 0.0
    limits = Limits(1, highest)
    reserve = guards.reserve(8 * GB)
    for turn in range(200):
        grown = sum(age >= lag for age in ages)
        seen = dataclasses.replace(
            CALM,
            at=now,
            memory_total=8 * GB,
            memory_available=max(0, free - grown * size),
            committed=(len(ages) - grown) * size,
            child_estimate=size,
            children=len(ages),
            queued=max(0, tasks - len(ages)),
        )
        # Several decisions rest on one sample: one for each message that comes.
        for _ in range(3):
            active = min(tasks, len(ages))
            made, past = decide(now, limits, guards, seen, Demand(len(ages), active, active), past)
            ages = ages[: len(ages) + made.change] + [0] * made.change
            changes.append(made.change)
            if made.change > 0:
                assert free - len(ages) * size >= reserve
        ages = [age + 1 for age in ages]
        now += 1.0
        assert turn < 100 or changes[-3:] == [0, 0, 0]


@given(cpus=st.integers(1, 16), highest=st.integers(1, 64), grow_step=st.integers(1, 4))
def test_a_machine_that_the_node_itself_loads_comes_to_rest(cpus: int, highest: int, grow_step: int) -> None:
    """Tasks that only compute: the load of a minute follows by half in 42 s, as the kernel's does."""
    guards, past, processes, load, running = Guards(grow_step=grow_step), Past(), 1, 0.0, 0.0
    directions = []
    for now in range(600):
        load += (processes - load) * (1 - math.exp(-1 / 60))
        running += (processes - running) * 0.3
        seen = dataclasses.replace(CALM, at=now, cpus=cpus, load=load, running=running, queued=1000)
        demand = Demand(processes, processes, processes)
        made, past = decide(now, Limits(1, highest), guards, seen, demand, past)
        processes += made.change
        directions += [made.change > 0] if made.change else []
    assert directions == sorted(directions, reverse=True), "it grows, may take some of it back, and rests"
    assert processes >= min(highest, 2 * cpus)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"min": 1}, "max is missing"),
        ({"min": 5, "max": 2}, "min 5 is above max 2"),
        ({"min": 1, "max": 2, "memroy": 1}, "memroy is not known"),
        ({"min": 1, "max": 2, "idle": 0}, "idle = 0 is not above zero"),
        ({"min": 1, "max": 2.5}, "max = 2.5 is no whole number"),
        ({"min": 1, "max": 2, "psi_io": 101}, "more than 100 percent"),
        ({"min": 1, "max": 2, "cooldown": "5s"}, "'5s' is no number"),
        ({"min": 1, "max": 2, "memory_reserve": 2 * GB}, "is all there is"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace(".", r"\.")):
        parse(given, memory_total=GB)


def test_settings_in_base_units() -> None:
    assert parse({"min": 1, "max": 4.0, "memory_reserve": 10, "queue_wait": None}) == (
        Limits(1, 4),
        Guards(memory_reserve=10),
    )
