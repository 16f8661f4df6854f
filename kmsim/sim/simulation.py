"""One run: a machine, its CPUs as SimPy processes, and what was measured.

`stepwise` mode: every stage of every operation is a SimPy event. A stage ends where a zone's lock
is requested; the critical section's changes are made at the request (see `sim.lock`).

Threads that share a CPU take turns, one operation each, in the order in which they ask; the CPU is
free for others while a thread thinks, and a latency starts when its thread runs.

Leaves out, until they are built: the compiled event core, interrupts, the price of switching from
one thread to another, kswapd. Lock order: a CPU holds at most one zone lock at a time.
"""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.config.study import Study
from kmsim.config.workload import ThreadConfig
from kmsim.metrics.histogram import NR_BUCKETS, record_entry
from kmsim.metrics.samples import Samples
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import MAX_NR_ZONES, NEEDS_SLOW_PATH, NO_PAGE, ZONE_NAMES, Machine
from kmsim.sim.boot import machine_of
from kmsim.sim.clock import Step, new_environment, now_ps
from kmsim.sim.costs import Prices, prices
from kmsim.sim.lock import SpinLock
from kmsim.sim.stage import begin, granted
from kmsim.workload.op_stream import ALLOC, KIND_NAMES, nr_handles, op_blocks
from kmsim.workload.seeds import stream


@dataclass
class Outcomes:
    """What the operations of one kind, order and CPU came to; latencies in picoseconds."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NR_BUCKETS, np.int64))
    totals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    failed: int = 0
    needs_slow_path: int = 0


@dataclass
class Simulation:
    """The machine and everything that runs on it."""

    study: Study
    machine: Machine
    env: simpy.Environment
    prices: Prices
    locks: list[SpinLock]
    outcomes: dict[tuple[str, int, int], Outcomes] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    nr_done: int = 0
    lock_wait: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    turns: dict[int, simpy.Resource] = field(default_factory=dict)  # of the CPUs that several threads share
    end: simpy.Event | None = None

    def outcome(self, kind: str, order: int, cpu: int) -> Outcomes:
        """The counters of one kind of operation on one CPU."""
        return self.outcomes.setdefault((kind, order, cpu), Outcomes())


def new_simulation(study: Study) -> Simulation:
    """The machine booted, its processes ready to start at picosecond 0."""
    simulation = Simulation(
        study=study,
        machine=machine_of(study.machine, study.seed),
        env=new_environment(),
        prices=prices(study.costs),
        locks=[SpinLock(f"zone {name}") for name in ZONE_NAMES],
        lock_wait=np.zeros(study.machine.cpus, np.int64),
    )
    assert len(simulation.locks) == MAX_NR_ZONES
    pinned = [(thread, cpu) for thread in study.workload.threads for cpu in thread.cpus]
    nr_threads = Counter(cpu for _, cpu in pinned)
    simulation.turns = {cpu: simpy.Resource(simulation.env) for cpu, count in nr_threads.items() if count > 1}
    threads = [simulation.env.process(kernel_thread(simulation, thread, cpu)) for thread, cpu in pinned]
    finished = simulation.env.process(until_all(simpy.AllOf(simulation.env, threads)))
    simulation.end = simulation.env.process(sampler(simulation, finished))
    return simulation


def nr_operations(study: Study) -> int:
    """How many operations the run will simulate."""
    return sum(thread.operations * len(thread.cpus) for thread in study.workload.threads)


def run(simulation: Simulation) -> Iterator[int]:
    """Run until the last sample is taken; now and then yields the number of operations done, for progress.

    The sampler's next interval is still scheduled then: running it, too, would move the clock past the end.
    """
    assert simulation.end is not None, "made by new_simulation"
    last = 0
    while not simulation.end.processed:
        simulation.env.step()
        if simulation.nr_done - last >= 1000:
            last = simulation.nr_done
            yield last
    recount(simulation.machine)


def kernel_thread(simulation: Simulation, thread: ThreadConfig, cpu: int) -> Generator[simpy.Event, None, None]:
    """One kernel thread: operation after operation."""
    env = simulation.env
    rng = stream(simulation.study.seed, f"thread/{thread.name}/cpu/{cpu}")
    blocks = np.full(nr_handles(thread), NO_PAGE, np.int64)
    orders = np.zeros(nr_handles(thread), np.int64)
    validate_every = simulation.study.run.validate_every
    turns = simulation.turns.get(cpu)
    yield Step(env, 0, cpu)  # the CPUs start in the order of their numbers
    for ops in op_blocks(thread, rng):
        for gap_ps, gfp, handle, kind, order in ops.tolist():
            if gap_ps:
                yield Step(env, gap_ps, cpu)
            if turns is not None:
                turn = turns.request()
                yield turn
                yield Step(env, 0, cpu)  # a turn is given before all CPUs act: back into their order
            if kind == ALLOC:
                yield from operation(simulation, cpu, kind, gfp, order, NO_PAGE)
                blocks[handle] = simulation.machine.contexts[cpu].pfn
                orders[handle] = order
            elif blocks[handle] != NO_PAGE:
                yield from operation(simulation, cpu, kind, gfp, int(orders[handle]), int(blocks[handle]))
                blocks[handle] = NO_PAGE
            if turns is not None:
                turns.release(turn)
            simulation.nr_done += 1
            if validate_every and simulation.nr_done % validate_every == 0:
                recount(simulation.machine)


def operation(
    simulation: Simulation, cpu: int, kind: int, gfp: int, order: int, pfn: int
) -> Generator[simpy.Event, None, None]:
    """One allocation or free, stage by stage, and its latency."""
    env = simulation.env
    m = simulation.machine
    price = simulation.prices
    start = now_ps(env)
    wanted = begin(m, cpu, kind == ALLOC, gfp, order, pfn)
    yield Step(env, price.alloc_fast + price.watermark_check if kind == ALLOC else price.free_fast, cpu)
    while wanted:
        lock = simulation.locks[int(m.contexts[cpu].zone)]
        m.work[0] = 0
        wanted = granted(m, cpu)
        taking = price.lock_handover if lock.is_held(now_ps(env)) else price.lock_uncontended
        hold = taking + price.hold(m.work[0])
        released = lock.acquire(now_ps(env), hold)
        simulation.lock_wait[cpu] += released - hold - now_ps(env)
        yield Step(env, released - now_ps(env), cpu)
    outcome = simulation.outcome(KIND_NAMES[kind], order, cpu)
    if kind == ALLOC and m.contexts[cpu].pfn == NO_PAGE:
        outcome.failed += 1
        outcome.needs_slow_path += int(m.contexts[cpu].failure) == NEEDS_SLOW_PATH
    else:
        record_entry(outcome.counts, outcome.totals, now_ps(env) - start)


def until_all(finished: simpy.Event) -> Generator[simpy.Event, None, None]:
    """End when all threads have; a process, because a condition inside another loses its callbacks."""
    yield finished


def sampler(simulation: Simulation, finished: simpy.Event) -> Generator[simpy.Event, None, None]:
    """Sample free memory at the start, at regular intervals and at the end."""
    env = simulation.env
    interval = simulation.study.run.sample_every
    while not finished.triggered:
        simulation.samples.take(simulation.machine, now_ps(env))
        yield finished | env.timeout(interval)
    simulation.samples.take(simulation.machine, now_ps(env))

