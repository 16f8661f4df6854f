"""A run's events as slices of one track for each CPU: what they say, and that they lie within one another."""

import json
from collections import defaultdict
from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.mm.locks import PCP_LOCK
from kmsim.mm.mmzone import ZONE_NAMES
from kmsim.sim.run.timeline import Slice, Timeline, trace_text
from kmsim.sim.simulation import Simulation, new_simulation, run
from kmsim.study.tables import lock_names
from tests.sim.core.test_sleep_and_flush import COSTS, FLUSH, INTERRUPT, MIB
from tests.sim.core.test_spinlock import crowd
from tests.sim.stories import PAIR, cheap, prices, source
from tests.sim.test_modes import random_study
from tests.studies import Mapping, mapping

# Ends and beginnings that come close to each other: prices with picoseconds, interrupts within waits and holds.
ODD = prices(lock_hold="40.001ns", lock_handover="100.499ns", alloc_fast="56.333ns", tlb_flush="7.0005us")
DRAINS = {"drains": [{"cpu": 0, "every": "3us"}, {"cpu": 1, "every": "2us"}]}


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


def drained() -> Mapping:
    """Drains that wait for per-CPU lists, and interrupts that come between."""
    often = source("irq", arrivals={"constant": "700ns"}, lifetime="immediate", operations=300)
    whole = mapping({"operations": 2000, "cpus": [0, 1], "live": 8}, costs=ODD, timeslice="1us", interrupts=[often])
    whole["workload"] |= DRAINS
    return whole


def flushed(**others: Any) -> Mapping:
    """16 MiB of addresses, so that every few requests of 1 MiB have to purge."""
    busy = MIB | {"operations": 100, "cpus": [0]}
    return mapping(busy, costs=COSTS, cpus=2, memory="128MiB", vmalloc={"size": "16MiB"}, **others)


def test_a_purge_waits_for_the_flush_of_the_other_cpus_of_an_x86() -> None:
    _, slices = timeline_of(flushed())
    waits = [each for each in slices if each.name == "wait for a TLB flush"]
    assert len(waits) > 2
    assert all((each.group, each.track, each.of) == (1, 0, "wait") for each in waits)
    assert all(each.end - each.begin == INTERRUPT + FLUSH for each in waits)
    assert [each.end for each in slices if each.name.endswith("flush the TLB")] == [each.end for each in waits]


def test_a_drain_takes_a_per_cpu_lists_lock_around_the_zones_and_waits_for_it() -> None:
    simulation, slices = timeline_of(drained())
    of_pcp = [each for each in slices if each.name.startswith("hold pcp lists")]
    in_zone = {(each.track, each.end) for each in slices if each.name.startswith("hold zone")}
    assert of_pcp
    assert all((each.track, each.end) in in_zone for each in of_pcp)
    locks = simulation.core.locks
    pcp_locks = locks[locks["lock_class"] == PCP_LOCK]
    assert sum(each.end - each.begin for each in of_pcp) == pcp_locks["hold_total"].sum()
    waits = [each for each in slices if each.name.startswith("wait for pcp lists")]
    assert sum(each.end - each.begin for each in waits) == pcp_locks["wait_total"].sum() > 0


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({"order": 0}, {"alloc pages order 0", "free pages order 0"}),
        ({"api": "bulk", "pages": 4}, {"alloc bulk 16384 B", "free bulk"}),
    ],
)
def test_an_operation_is_named_by_its_order_where_it_asks_for_a_block(request_: Mapping, names: set[str]) -> None:
    _, slices = timeline_of(cheap(PAIR | {"cpus": [0], "requests": [request_]}))
    assert {each.name.removeprefix("t0/cpu0: ") for each in slices if each.of == "operation"} == names


STUDIES = [random_study(1), random_study(2), crowd(1), drained(), flushed()]


def read_back(trace: dict[str, Any]) -> set[tuple[int, str, int, int]]:
    """The slices (track's thread, name, begin, end in ps) as the UI makes them, of whole nanoseconds."""
    events = [event for event in trace["traceEvents"] if event["ph"] in "BE"]
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    around: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    found = set()
    for event in events:
        stack = around[event["pid"], event["tid"]]
        if event["ph"] == "B":
            stack.append(event)
            continue
        begun = stack.pop()
        begin = begun["args"]["begin_ps"]
        end = begin + begun["args"]["duration_ps"]
        assert int(event["ts"] * 1000.0) == int(end / 1_000_000 * 1000.0), "another slice's end"
        found.add((begun["tid"], begun["name"], begin, end))
    assert not any(around.values()), "a slice without an end"
    return found


@pytest.mark.parametrize("config", STUDIES)
def test_slices_of_a_track_lie_within_one_another_and_add_up(config: Any) -> None:
    simulation, slices = timeline_of(config)
    nr_cpus = len(simulation.core.cpus)
    trace = json.loads(trace_text(slices, simulation.plan, nr_cpus))
    assert read_back(trace) == {
        (1 + each.track + nr_cpus * (each.group - 1), each.name, each.begin, each.end) for each in slices
    }
    operations = [each for each in slices if each.of == "operation"]
    assert len(operations) >= simulation.nr_done
    assert all(each.begin < each.end <= simulation.core.state[0].now for each in slices)


def test_the_file_is_what_perfetto_reads() -> None:
    simulation, slices = timeline_of(cheap(PAIR | {"cpus": [0, 1]}))
    events = json.loads(trace_text(slices, simulation.plan, 2))["traceEvents"]
    names = [event for event in events if event.get("name") == "thread_name"]
    named = [(event["pid"], event["tid"], event["args"]["name"]) for event in names]
    assert named == [(1, 1, "CPU 0"), (1, 2, "CPU 1")]
    begun, ended = ([event for event in events if event["ph"] == ph] for ph in "BE")
    assert all(event.keys() == {"ph", "pid", "tid", "ts", "name", "cat", "args"} for event in begun)
    assert all(event.keys() == {"ph", "pid", "tid", "ts"} for event in ended)
    assert len(begun) == len(ended) == len(slices)
