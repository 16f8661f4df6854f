"""A per-CPU list whose lock somebody holds: the request goes to the zone, and the list stays as it is."""

import numpy as np
import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import PGALLOC, PGFREE, ZONE_DMA, Machine

from . import drivers
from .machines import H, M, free_blocks, free_list, machine_with, pcp_lists, plain_machine, same_bytes

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")


def locked_machine(filled: bool = True) -> Machine:
    """A machine whose CPU 0 has pages on its list, and somebody its lock."""
    m = plain_machine()
    if filled:
        drivers.alloc(m, 0, MOVABLE, 0)
    m.pcps[0].locked = 1
    m.pcps[0].free_count = 40
    m.pcps[0].alloc_factor = 4
    return m


@pytest.mark.parametrize("order", [0, 1, 3, 9])
def test_an_allocation_passes_the_list_by(order: int) -> None:
    m = locked_machine()
    before = m.pcps.copy()
    held = pcp_lists(m, ZONE_DMA, 0)
    events = int(m.events[PGALLOC])
    pfn = drivers.alloc(m, 0, MOVABLE, order)
    assert pfn not in held[1]
    assert pcp_lists(m, ZONE_DMA, 0) == held
    for name in ("count", "high", "free_count", "alloc_factor"):
        assert m.pcps[0][name] == before[0][name]
    assert m.events[PGALLOC] - events == 1 << order
    drivers.recount(m)


@pytest.mark.parametrize("order", [0, 1, 3, 9])
def test_a_freed_block_goes_to_the_zone(order: int) -> None:
    m = machine_with({})
    m.pcps[0].locked = 1
    m.pcps[0].alloc_factor = 4
    drivers.free(m, 0, 512, order)
    assert free_blocks(m, ZONE_DMA) == {(order, M): [512]}
    assert (m.pcps[0].count, m.pcps[0].free_count, m.pcps[0].alloc_factor) == (0, 0, 4)
    assert m.events[PGFREE] == 1 << order
    drivers.recount(m)


def test_a_freed_highatomic_page_goes_home_at_once() -> None:
    m = machine_with({}, types={0: H})
    m.pcps[0].locked = 1
    drivers.free(m, 0, 5, 0)
    assert free_list(m, ZONE_DMA, 0, H) == [5]


def test_another_cpus_lock_is_none_of_ours() -> None:
    m, free = plain_machine(), plain_machine()
    m.pcps[1].locked = 1
    for machine in (m, free):
        drivers.free(machine, 0, drivers.alloc(machine, 0, MOVABLE, 0), 0)
    m.pcps[1].locked = 0
    assert same_bytes(m, free)


def test_a_bulk_request_gets_one_page_of_the_zone() -> None:
    m = locked_machine()
    held = pcp_lists(m, ZONE_DMA, 0)
    pfns = np.zeros(10, np.int64)
    assert drivers.bulk(m, 0, MOVABLE, 10, pfns) == 1
    assert pfns[0] not in held[1]
    assert pcp_lists(m, ZONE_DMA, 0) == held
    m.pcps[0].locked = 0
    assert drivers.bulk(m, 0, MOVABLE, 10, pfns) == 10


def test_each_block_of_a_batch_goes_to_the_zone() -> None:
    m = machine_with({})
    m.pcps[0].locked = 1
    drivers.folios(m, 0, np.array([8, 512, 3, 1024]), np.array([0, 4, 0, 4]))
    assert free_blocks(m, ZONE_DMA) == {(4, M): [1024, 512], (0, M): [3, 8]}
    assert m.events[PGFREE] == 34


def test_a_drain_waits_for_the_lock_and_takes_it() -> None:
    m = locked_machine()
    drivers.drain(m, 1, ZONE_DMA, 0)
    assert pcp_lists(m, ZONE_DMA, 0) == {}
