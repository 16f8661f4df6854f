"""A user's own SimPy processes on the simulated CPUs.

The prices are in `tests.sim.stories`.
"""

from typing import Any

import numpy as np
import pytest

from kmsim.mm.gfp import GFP_FLAGS
from kmsim.sim.core.records import BYTES, COUNT, FAILED, NO_BLOCK, class_of
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Process, Simulation, new_simulation
from kmsim.sim.user.cpu import Alloc
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.plan import Request
from tests.sim.stories import PAIR, cheap, finished, prices, told
from tests.studies import study

GFP_KERNEL = GFP_FLAGS["GFP_KERNEL"]
BESIDE = PAIR | {"cpus": [1]}  # what runs beside the user's process


def taking(cpu: int, order: int = 4, *, pause: int = 1_000_000, got: list[Any] | None = None) -> Any:
    """A user's process that takes a block, keeps it for a while and gives it back."""

    def process(simulation: Simulation) -> Process:
        alloc = yield from simulation.cpus[cpu].alloc_pages("GFP_KERNEL", order=order)
        assert alloc is not None
        if got is not None:
            got.append(alloc)
        yield simulation.env.timeout(pause)
        yield from simulation.cpus[cpu].free_pages(alloc)

    return process


def nr_free(simulation: Simulation) -> int:
    """All free pages, those on per-CPU lists too."""
    m = simulation.machine
    of_orders = m.zones["nr_free"].sum(axis=0)
    return int((of_orders << np.arange(len(of_orders))).sum() + m.pcps["count"].sum())


# ---- time


def test_a_call_takes_the_time_of_its_operation() -> None:
    assert told(cheap(BESIDE | {"start": "10us"}), taking(0)) == [
        (0, 0, "user alloc"),
        (76, 0, "user alloc done"),
        (1076, 0, "user free"),
        (1147, 0, "user free done"),
        (10000, 1, "t0 alloc"),
        (10076, 1, "t0 alloc done"),
        (10076, 1, "t0 free"),
        (10147, 1, "t0 free done"),
    ]


def test_calls_on_one_cpu_are_served_one_after_the_other() -> None:
    log = told(cheap(BESIDE | {"start": "1us"}), taking(0, pause=10), taking(0, order=5, pause=10))
    assert log[:8] == [
        (0, 0, "user alloc"),
        (76, 0, "user alloc done"),
        (76, 0, "user alloc"),  # of the second process, asked for at 0
        (152, 0, "user alloc done"),
        (152, 0, "user free"),  # of the first, asked for at 76.01
        (223, 0, "user free done"),
        (223, 0, "user free"),
        (294, 0, "user free done"),
    ]


def test_calls_on_two_cpus_meet_at_the_lock() -> None:
    log = told(cheap(BESIDE | {"start": "5us"}), taking(0), taking(1))
    assert log[2:4] == [(76, 0, "user alloc done"), (176, 1, "user alloc done")]


def test_a_user_shares_the_cpu_with_its_threads_and_pays_for_the_switches() -> None:
    thread = {"cpus": [0], "operations": 5, "live": 5, "requests": [{"order": 4}]}
    costs = prices(alloc_fast="480ns", context_switch="200ns")  # an allocation takes 500 ns
    assert told(cheap(thread, costs=costs, timeslice="1us"), taking(0)) == [
        (0, 0, "t0 alloc"),
        (500, 0, "t0 alloc done"),
        (500, 0, "t0 alloc"),
        (1000, 0, "t0 alloc done"),  # its slice is over, and the user waits since 0
        (1200, 0, "user alloc"),
        (1700, 0, "user alloc done"),  # the user's process pauses
        (1900, 0, "t0 alloc"),
        (2400, 0, "t0 alloc done"),
        (2400, 0, "t0 alloc"),
        (2900, 0, "t0 alloc done"),  # its slice is over, and the user waits since 2700
        (3100, 0, "user free"),
        (3171, 0, "user free done"),
        (3371, 0, "t0 alloc"),
        (3871, 0, "t0 alloc done"),
    ]


# ---- what is got


def test_a_handle_knows_its_page_frame_until_it_is_freed() -> None:
    got: list[Alloc] = []
    seen: list[int] = []

    def looking(simulation: Simulation) -> Process:
        yield simulation.env.timeout(500_000)
        seen.append(got[0].pfn)
        seen.append(int(simulation.machine.pages[got[0].pfn].order))

    finished(cheap(BESIDE), taking(0, order=5, got=got), looking)
    assert seen[0] % 32 == 0
    assert seen[1] == 5
    assert got[0].is_freed
    with pytest.raises(ValueError, match="freed has no page frame"):
        _ = got[0].pfn


def test_where_there_is_no_page_the_answer_is_none_and_it_is_counted() -> None:
    answers: list[Alloc | None] = []

    def asking(simulation: Simulation) -> Process:
        for _ in range(3):  # all of ZONE_DMA, the first MiB of which is never free
            answers.append((yield from simulation.cpus[0].alloc_pages("GFP_DMA", order=12)))

    simulation = finished(cheap(BESIDE, max_page_order=12), asking)
    assert answers == [None] * 3
    request = simulation.held.request_index(simulation.plan.requests[0]._replace(gfp=GFP_FLAGS["GFP_DMA"], order=12))
    assert simulation.core.totals[class_of(request, ALLOC), 0, [COUNT, FAILED]].tolist() == [0, 3]
    assert len(simulation.held.free_slots) == len(set(simulation.held.free_slots)) == 64


def test_handles_stay_good_while_more_and_more_are_held() -> None:
    held: list[tuple[Alloc, int]] = []

    def hoarding(simulation: Simulation) -> Process:
        for n in range(200):
            alloc = yield from simulation.cpus[n % 2].alloc_pages(GFP_KERNEL, order=n % 3)
            assert alloc is not None
            held.append((alloc, alloc.pfn))
        assert all(alloc.pfn == pfn for alloc, pfn in held)
        assert all(simulation.machine.pages[pfn].order == n % 3 for n, (_, pfn) in enumerate(held))
        frames = [pfn + i for n, (_, pfn) in enumerate(held) for i in range(1 << n % 3)]
        assert len(set(frames)) == len(frames)
        for n, (alloc, _) in enumerate(held):
            yield from simulation.cpus[n % 2].free_pages(alloc)

    config = cheap(BESIDE | {"operations": 20}, run={"validate_every": 7})
    before = nr_free(new_simulation(config))
    simulation = finished(config, hoarding)
    assert len(held) == 200
    assert nr_free(simulation) == before
    last = len(simulation.core.slots)
    assert sorted(simulation.held.free_slots) == list(range(last - 256, last))


def test_a_block_can_be_freed_on_another_cpu() -> None:
    def handing_on(simulation: Simulation) -> Process:
        alloc = yield from simulation.cpus[0].alloc_pages("GFP_KERNEL", order=4)
        assert alloc is not None
        yield from simulation.cpus[1].free_pages(alloc)

    core = finished(cheap(BESIDE | {"operations": 2}), handing_on).core
    assert core.totals[ALLOC, :, COUNT].tolist() == [1, 1]
    assert core.totals[FREE, :, COUNT].tolist() == [0, 2]


def test_new_requests_get_rows_of_their_own_and_known_ones_do_not() -> None:
    def asking(simulation: Simulation) -> Process:
        for gfp, order in (("GFP_ATOMIC", 1), ("GFP_KERNEL", 4), ("GFP_ATOMIC", 1), ("GFP_ATOMIC", 2)):
            alloc = yield from simulation.cpus[0].alloc_pages(gfp, order=order)
            assert alloc is not None
            yield from simulation.cpus[0].free_pages(alloc)

    core = finished(cheap(BESIDE), asking).core
    atomic = GFP_FLAGS["GFP_ATOMIC"]
    assert core.requests.tolist() == [Request(GFP_KERNEL, 4), Request(atomic, 1), Request(atomic, 2)]
    assert core.totals[ALLOC::2, :, COUNT].tolist() == [[1, 1], [2, 0], [1, 0]]
    assert core.totals[FREE::2, :, COUNT].tolist() == [[1, 1], [2, 0], [1, 0]]
    assert core.totals[ALLOC::2, :, BYTES].tolist() == [[65536, 65536], [16384, 0], [16384, 0]]
    assert core.counts.sum(axis=(1, 2)).tolist() == [2, 2, 2, 2, 1, 1]


def test_a_run_lasts_as_long_as_the_users_processes() -> None:
    def dawdling(simulation: Simulation) -> Process:
        yield simulation.env.timeout(123_456_789)

    assert now_ps(finished(cheap(BESIDE), dawdling).env) == 123_456_789


# ---- mistakes


@pytest.mark.parametrize(
    ("gfp", "order", "why"),
    [
        ("GFP_KERNEL", 11, "an order is 0 to 10, not 11"),
        ("GFP_KERNEL", -1, "an order is 0 to 10, not -1"),
        ("GFP_KERNAL", 0, "GFP_KERNAL"),
        ("GFP_DMA | GFP_DMA32", 0, "at most one of __GFP_DMA"),
        ("__GFP_MOVABLE | __GFP_RECLAIMABLE", 0, "not both"),
        ("GFP_KERNEL | __GFP_NOFAIL", 2, "order 0 or 1 where __GFP_NOFAIL"),
    ],
)
def test_a_request_that_the_kernel_would_warn_of_is_refused(gfp: str, order: int, why: str) -> None:
    simulation = new_simulation(study())
    with pytest.raises(ValueError, match=why):
        next(simulation.cpus[0].alloc_pages(gfp, order=order))
    assert (simulation.held.free_slots, simulation.engine.nr_tasks) == ([], len(simulation.plan.tasks))


def test_a_block_cannot_be_freed_twice() -> None:
    def freeing(simulation: Simulation) -> Process:
        alloc = yield from simulation.cpus[0].alloc_pages("GFP_KERNEL")
        assert alloc is not None
        yield from simulation.cpus[0].free_pages(alloc)
        with pytest.raises(ValueError, match="Object already free"):
            yield from simulation.cpus[1].free_pages(alloc)

    simulation = finished(cheap(BESIDE), freeing)
    assert np.count_nonzero(simulation.core.slots["block"] != NO_BLOCK) == 0
    assert len(simulation.held.free_slots) == len(set(simulation.held.free_slots)) == 64
