"""The mutex of a purge, whose waiters sleep, and the flush of all TLBs, which interrupts every CPU on x86 alone."""

from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.jit import entry
from kmsim.mm.locks import VMAP_PURGE_LOCK
from kmsim.mm.vm_frame import own_lock
from kmsim.mm.vm_records import PURGES, VM_FREED
from kmsim.mm.wants import GO_ON, SLEEP, want_to_sleep
from kmsim.sim.core.records import NEVER, NOBODY, Core
from kmsim.sim.core.sleep import wake_up
from kmsim.sim.simulation import Simulation, new_simulation
from kmsim.workload.plan import IRQ
from tests.sim.stories import Locks, prices, watch
from tests.studies import Mapping, mapping

US = 1_000_000
INTERRUPT, FLUSH = 3 * US, 7 * US
COSTS = prices(interrupt="3us", tlb_flush="7us", vmap_step="1us")
MIB = {"requests": [{"api": "vmalloc", "bytes": "1MiB"}], "live": 1}


@entry
def wake(s: Core, k: int) -> None:
    """Wake a task, for Python callers."""
    wake_up(s, k)


@entry
def let_sleep(s: Core, c: int, until: int) -> None:
    """Let the thread of a CPU want to sleep at the end of its stage."""
    s.runs[c].then = want_to_sleep(s.m, c, until)


def small_space(*threads: Mapping, **others: Any) -> Simulation:
    """16 MiB of addresses, so that every few requests of 1 MiB have to purge; stepwise."""
    whole = mapping(*threads, costs=COSTS, memory="128MiB", vmalloc={"size": "16MiB"}, **others)
    return new_simulation(from_mapping(whole | {"run": {"stepwise": True}}))


def test_while_a_thread_sleeps_for_the_mutex_its_cpu_runs_another() -> None:
    greedy = MIB | {"operations": 200, "cpus": [0, 1, 2]}
    other = {"operations": 3000, "cpus": [0, 1, 2], "requests": [{"order": 4}], "live": 1}
    simulation = small_space(greedy, other, cpus=3)
    core = simulation.core
    assert core.vm is not None
    n = own_lock(core.vm, VMAP_PURGE_LOCK)
    nr_greedy = 3
    slept: dict[int, tuple[int, int]] = {}  # by task: since when, and what its CPU's other thread had done then
    queue: list[int] = []
    waits: list[int] = []
    nr_done_meanwhile: list[int] = []

    def look(s: Core, _: int, __: Locks) -> None:
        now = int(s.state[0].now)
        for k in range(nr_greedy):
            task = s.tasks[k]
            sleeps = bool(task.parked) and task.wake_at == NEVER
            if sleeps and k not in slept:
                slept[k] = (now, int(s.tasks[nr_greedy + k].nr_done))
                queue.append(k)
                assert s.locks[n].run not in (k, NOBODY)
                assert s.runs[int(task.cpu)].task != k or not s.cpus[task.cpu].busy[0]
            elif not sleeps and k in slept:
                since, nr_done = slept.pop(k)
                assert task.parked
                assert queue.pop(0) == k == s.locks[n].run, "not in the order of the requests"
                waits.append(now - since)
                nr_done_meanwhile.append(int(s.tasks[nr_greedy + k].nr_done) - nr_done)

    watch(simulation, look)
    lock = core.locks[n]
    assert len(waits) > 5
    assert sum(nr_done_meanwhile) > len(waits)
    assert (lock.contended, lock.wait_total, lock.wait_max) == (len(waits), sum(waits), max(waits))
    assert lock.run == NOBODY
    assert (core.tasks["parked"] == 0).all()
    assert core.tasks["nr_done"][:nr_greedy].tolist() == [200] * nr_greedy


def test_a_thread_that_is_woken_before_it_sleeps_does_not_sleep_and_one_that_is_awake_goes_on() -> None:
    """The wake of one that does sleep ends its sleep; all come to an end, which it would not sleep through."""
    thread = {"operations": 40, "cpus": [0], "requests": [{"api": "vmalloc", "bytes": "9KiB"}], "live": 1}
    simulation = new_simulation(from_mapping(mapping(thread, run={"stepwise": True})))
    core = simulation.core
    seen = {"about to": 0, "awake": 0, "asleep": 0}

    def look(s: Core, _: int, __: Locks) -> None:
        task, run = s.tasks[0], s.runs[0]
        nr_seen = min(seen.values())
        if task.parked:
            seen["asleep"] += 1
            wake(s, 0)
            assert task.wake_at <= s.state[0].now
        elif s.cpus[0].busy[0] and run.then == GO_ON and seen["about to"] <= nr_seen:
            let_sleep(s, 0, NEVER)
            wake(s, 0)
            assert run.then == GO_ON
            seen["about to"] += 1
        elif s.cpus[0].busy[0] and run.then == GO_ON:
            let_sleep(s, 0, NEVER)
        elif s.cpus[0].busy[0] and run.then != SLEEP:
            before = [records.tobytes() for records in (s.runs, s.tasks, s.cpus)]
            wake(s, 0)
            assert [records.tobytes() for records in (s.runs, s.tasks, s.cpus)] == before
            seen["awake"] += 1

    watch(simulation, look)
    assert min(seen.values()) > 0, seen
    assert core.tasks[0].nr_done == 40


@pytest.mark.parametrize(("machine", "interrupts"), [("x86-laptop", True), ("arm64-server", False)])
def test_a_flush_interrupts_every_other_cpu_of_an_x86_and_none_of_an_arm64(machine: str, interrupts: bool) -> None:
    simulation = small_space(MIB | {"operations": 100, "cpus": [0]}, cpus=3, extends=machine)
    core = simulation.core
    watch(simulation, lambda *_: None)
    assert core.vm is not None
    nr_purges = int(core.vm.events[PURGES])
    assert nr_purges > 2
    per_purge = INTERRUPT if interrupts else 0
    assert core.cpus["interrupt_ps"].tolist() == [0, nr_purges * per_purge, nr_purges * per_purge]
    assert core.cpus["instructions_ps"][1:].tolist() == [nr_purges * FLUSH * interrupts] * 2
    # Idle CPUs are interrupted at once: the purge waits for the way there and for the flush, then flushes itself.
    assert core.cpus[0].lock_wait_ps == nr_purges * (INTERRUPT + FLUSH) * interrupts


@pytest.mark.slow
def test_a_flush_waits_for_the_last_cpu() -> None:
    long = {"kind": "irq", "batch": 40, "requests": [{"gfp": "GFP_ATOMIC"}], "lifetime": "immediate"}
    often = long | {"name": "often", "cpus": [1], "arrivals": {"poisson": "20us"}}
    busy = {"operations": 3000, "cpus": [2], "requests": [{"order": 4}], "live": 1}
    simulation = small_space(MIB | {"operations": 600, "cpus": [0]}, busy, cpus=3, interrupts=[often])
    flushed: list[tuple[int, int]] = []  # CPU and time, of the flush that is under way
    spans: list[int] = []
    begun = left = 0

    def look(s: Core, c: int, _: Locks) -> None:
        now = int(s.state[0].now)
        nonlocal begun, left
        state = s.state[0]
        if state.nr_to_flush > left:
            assert (left, int(state.flushing), c) == (0, 0, 0)
            begun = now
        elif state.nr_to_flush < left:
            flushed.append((c, now))
        left = int(state.nr_to_flush)
        if flushed and left == 0:
            assert sorted(cpu for cpu, _ in flushed) == [1, 2]
            assert min(time for _, time in flushed) >= begun + FLUSH
            assert state.flushing == NOBODY
            assert s.runs[0].end_ps == now + FLUSH
            spans.append(now - begun)
            flushed.clear()

    watch(simulation, look)
    assert len(spans) > 10
    assert min(spans) == INTERRUPT + FLUSH
    assert max(spans) > INTERRUPT + FLUSH, "no CPU was ever late"


def test_an_area_that_an_interrupt_frees_is_freed_later_by_a_kworker() -> None:
    areas = {"operations": 60, "cpus": [0], "requests": [{"api": "vmalloc", "bytes": "9KiB"}], "lifetime": "2us"}
    rare = {"name": "rare", "kind": "irq", "cpus": [1], "arrivals": {"constant": "1s"}, "lifetime": "immortal"}
    simulation = small_space(areas, {"operations": 1, "cpus": [0], "think": "1ms"}, cpus=2, interrupts=[rare])
    core = simulation.core
    assert core.vm is not None
    (frees,) = (k for k, task in enumerate(simulation.plan.tasks) if task.level == IRQ)
    for name in ("first_due", "nr_due_max"):  # no config can ask an interrupt to free what a thread allocated
        core.tasks[name][frees] = core.tasks[name][0]
    core.tasks["freed_by"][0] = frees
    most = 0

    def look(s: Core, _: int, __: Locks) -> None:
        now = int(s.state[0].now)
        nonlocal most
        assert s.vm is not None
        most = max(most, int(s.vm.params[0].vfree_scheduled))
        kworker = int(s.cpus[1].kworker)
        assert not s.vm.cpus[1].vfree_scheduled or s.tasks[kworker].wake_at <= now or s.tasks[kworker].running

    watch(simulation, look)
    assert most == 1
    assert core.tasks["nr_done"][frees] == 30
    assert core.vm.events[VM_FREED] == 30
    assert core.vm.params[0].vfree_scheduled == 0
