"""A run's events as slices of one track for each CPU: what they say, and that they lie within one another."""

import json
from collections import defaultdict
from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.mm.mmzone import ZONE_NAMES
from kmsim.sim.run.timeline import Slice, Timeline, trace_text
from kmsim.sim.simulation import Simulation, new_simulation, run
from kmsim.study.tables import lock_names
from tests.sim.core.test_spinlock import crowd
from tests.sim.stories import PAIR, cheap, prices, source
from tests.sim.test_modes import random_study


def timeline_of(config: Any) -> tuple[Simulation, list[Slice]]:
    study = config if not isinstance(config, dict) else from_mapping(config)
    simulation = new_simulation(study.model_copy(update={"run": study.run.model_copy(update={"stepwise": True})}))
    caches = simulation.plan.caches
    names = lock_names(simulation.core, [] if caches is None else [cache.name for cache in caches.geometries])
    timeline = Timeline(simulation.core, simulation.plan, names)
    simulation.engine.observers.append(timeline)
    list(run(simulation))
    return simulation, sorted(timeline.slices, key=lambda each: (each.track, each.begin, -each.end))


def in_ns(slices: list[Slice]) -> list[tuple[int, str, float, float]]:
    return [(each.track, each.name, each.begin / 1000, each.end / 1000) for each in slices]


def test_two_cpus_that_ask_at_once_wait_in_turn() -> None:
    costs = prices(lock_hold="40ns")
    simulation, slices = timeline_of(cheap(PAIR | {"cpus": [0, 1], "operations": 1}, costs=costs))
    zone = f"zone {ZONE_NAMES[int(simulation.machine.zones['present_pages'].argmax())]}"
    assert in_ns(slices) == [
        (0, "t0/cpu0: alloc pages order 4", 0, 116),
        (0, f"hold {zone}", 76, 116),
        (1, "t0/cpu1: alloc pages order 4", 0, 256),
        (1, f"wait for {zone}", 61, 216),
        (1, f"hold {zone}", 216, 256),
    ]


def test_an_interrupt_lies_within_what_it_interrupts() -> None:
    irq_once = source("irq", arrivals={"constant": "30ns"}, operations=1)
    _, slices = timeline_of(cheap(PAIR | {"cpus": [0]}, interrupts=[irq_once]))
    thread, irq, free = (each for each in slices if each.of == "operation")
    assert [each.name for each in (thread, irq)] == ["t0/cpu0: alloc pages order 4", "irq/cpu0: alloc pages order 4"]
    assert thread.begin < irq.begin < irq.end < thread.end <= free.begin


@pytest.mark.parametrize("config", [random_study(1), random_study(2), crowd(1)])
def test_slices_of_a_track_lie_within_one_another_and_add_up(config: Any) -> None:
    simulation, slices = timeline_of(config)
    by_track: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    for each in slices:
        by_track[each.group, each.track].append(each)
    for of_track in by_track.values():
        around: list[Slice] = []
        for each in sorted(of_track, key=lambda each: (each.begin, -each.end)):
            while around and around[-1].end <= each.begin:
                around.pop()
            assert not around or each.end <= around[-1].end, (around[-1], each)
            around.append(each)
    operations = [each for each in slices if each.of == "operation"]
    assert len(operations) >= simulation.nr_done


def test_the_file_is_what_perfetto_reads() -> None:
    simulation, slices = timeline_of(cheap(PAIR | {"cpus": [0, 1]}))
    trace = json.loads(trace_text(slices, simulation.plan, 2))
    events = trace["traceEvents"]
    assert [event["args"]["name"] for event in events if event["name"] == "thread_name"] == ["CPU 0", "CPU 1"]
    slices_ = [event for event in events if event["ph"] == "X"]
    assert all(event.keys() == {"ph", "name", "cat", "pid", "tid", "ts", "dur"} for event in slices_)
    assert len(slices_) == len(slices)
