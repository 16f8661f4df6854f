"""Random operations on a machine and its slow twin, in phases that fill memory to the brim and empty it again.

A phase has a share of allocations, a few GFP masks and a few orders of its own; its operations come from its own seed.
"""

from random import Random
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from kmsim.mm.gfp import GFP_DIRECT_RECLAIM

from .pair import GFPS, Pair

ATOMIC = tuple(gfp for gfp in GFPS if not gfp & GFP_DIRECT_RECLAIM)


class Phase(NamedTuple):
    """A stretch of one run."""

    seed: int
    nr_operations: int
    alloc_share: int  # per cent
    filled_with: str  # what memory is filled with first, to the brim
    atomic: bool
    low_orders: bool
    burst: int  # allocations of one kind in a row


PHASES = st.builds(
    Phase,
    seed=st.integers(0, 1 << 30),
    nr_operations=st.integers(5, 80),
    alloc_share=st.sampled_from((20, 50, 65, 80, 95)),
    filled_with=st.sampled_from(("nothing", "nothing", "pages", "small blocks", "large blocks")),
    atomic=st.booleans(),
    low_orders=st.booleans(),
    burst=st.sampled_from((1, 8, 60)),
)

PairType = TypeVar("PairType", bound=Pair)


def run_phase(pair: Pair, phase: Phase) -> None:
    """Run the phase's operations and compare the states at its end."""
    random = pair.random = Random(phase.seed)
    machine = pair.twin.machine
    top = machine.max_page_order
    gfps = random.sample(ATOMIC if phase.atomic else GFPS, 3)
    low = (0, 0, 0, 1, 2, min(3, top))
    orders = low if phase.low_orders else (0, 0, 1, 2, 3, min(5, top), machine.pageblock_order, top - 1, top)
    if machine.thp_in_pcp:
        orders += (machine.pmd_order,)
    fill(pair, phase)
    for _ in range(phase.nr_operations):
        cpu = random.randrange(machine.nr_cpus)
        if random.randrange(100) < phase.alloc_share:
            allocate(pair, cpu, random.choice(gfps), random.choice(orders), phase.burst)
        elif pair.held:
            give_back(pair, cpu, phase.burst)
        maintain(pair, cpu)
    pair.compare()


def fill(pair: Pair, phase: Phase) -> None:
    """Allocate until one fails, and give some of it back."""
    if phase.filled_with == "nothing":
        return
    machine = pair.twin.machine
    order = {"pages": 0, "small blocks": 2, "large blocks": machine.pageblock_order - 1}[phase.filled_with]
    cpu = pair.random.randrange(machine.nr_cpus)
    gfp = pair.random.choice(GFPS)
    nr_blocks = 0
    while nr_blocks < 2500 and pair.alloc(cpu, gfp, order):
        nr_blocks += 1
    for _ in range(pair.random.randint(0, pair.random.choice((nr_blocks, nr_blocks // 50)))):
        pair.free(cpu, *pair.pop())


def allocate(pair: Pair, cpu: int, gfp: int, order: int, burst: int) -> None:
    """One allocation, or as many as `burst` until one fails, or a bulk request."""
    if pair.random.randrange(10) == 0:
        pair.bulk(cpu, gfp, pair.random.choice((1, 2, 17, 100, 600)))
        return
    for _ in range(pair.random.randint(1, burst)):
        if not pair.alloc(cpu, gfp, order):
            break


def give_back(pair: Pair, cpu: int, burst: int) -> None:
    """Free one block, several, or a batch."""
    nr_blocks = min(len(pair.held), pair.random.randint(1, burst))
    if pair.random.randrange(5) == 0:
        pair.folios(cpu, [pair.pop() for _ in range(min(len(pair.held), pair.random.randint(1, 31)))])
        return
    for _ in range(nr_blocks):
        pair.free(cpu, *pair.pop())


def maintain(pair: Pair, cpu: int) -> None:
    """What happens now and then: drains, decay, and locks that others take and give back."""
    choice = pair.random.randrange(200)
    if choice < 2:
        pair.drain_all(cpu)
    elif choice >= 192:
        pair.lock_some()
    elif choice < 5:
        pair.drain(cpu, pair.random.randrange(pair.twin.machine.nr_cpus))
    elif choice < 15:
        pair.decay(cpu, pair.random.choice(sorted(pair.twin.zones)))
    elif choice < 18:
        pair.unreserve(cpu, pair.random.choice(GFPS), pair.random.choice(sorted(pair.twin.zones)))


def run(pair: PairType, phases: list[Phase]) -> PairType:
    """Run the phases, comparing all the way, and free everything."""
    for phase in phases:
        run_phase(pair, phase)
    pair.random = Random(2)
    pair.free_everything()
    pair.compare()
    return pair


def long_run(pair: PairType, seed: int) -> PairType:
    """Run twelve phases of a fixed seed, each filling and both kinds of it in turn."""
    random = Random(seed)
    fillings = ("pages", "nothing", "small blocks", "nothing", "large blocks", "nothing")
    phases = [
        Phase(random.randrange(1 << 30), 40, random.choice((20, 50, 80)), filling, *kind)
        for filling in fillings
        for kind in ((True, True, 8), (False, False, 20))  # atomic, low_orders, burst
    ]
    return run(pair, phases)
