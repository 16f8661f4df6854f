"""A machine of two nodes, by data alone: zones laid out by the functions of the boot, each CPU on a node.

Node 0 has the zones DMA, DMA32 and Normal, node 1 has Normal; each has two CPUs.
"""

from collections import Counter
from random import Random

import numpy as np
import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.locks import NODE_LIST_LOCK, all_locks
from kmsim.mm.memblock import free_range, lay_out_node, recount
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import (
    KSWAPD_WAKEUPS,
    NO_PAGE,
    NO_ZONE,
    NOPAGE,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Machine,
    new_machine,
)
from kmsim.mm.slub_records import NO_OBJECT, Slub, list_lock_of, new_slub
from kmsim.mm.slub_recount import slab_totals
from kmsim.mm.snapshot import load, save
from kmsim.mm.wants import LOCK
from kmsim.mm.zone_names import zone_names
from kmsim.mm.zone_setup import init_watermarks
from kmsim.mm.zonelist import build_all_zonelists
from kmsim.procfs import buddyinfo, pagetypeinfo, zoneinfo
from tests.params import params

from . import drivers, slub_drivers
from .slub_pair import geometry_of

GFP_KERNEL = parse_gfp("GFP_KERNEL")
GFP_NOWAIT = parse_gfp("GFP_NOWAIT")
DMA32 = parse_gfp("GFP_KERNEL | __GFP_DMA32")
HERE, THERE = (0, 2), (1, 3)  # the CPUs of node 0, and of node 1
NORMAL_HERE, NORMAL_THERE = "Normal of node 0", "Normal of node 1"
# What the zones of each node span, by type, in page frames: 16 MiB, 48 MiB and 64 MiB here, 128 MiB there.
SPANS = (
    [PfnRange(0, 4096), PfnRange(4096, 16384), PfnRange(16384, 32768), PfnRange(32768, 32768)],
    [PfnRange(32768, 32768), PfnRange(32768, 32768), PfnRange(32768, 65536), PfnRange(65536, 65536)],
)


def two_nodes() -> Machine:
    """All memory free, as a boot leaves it."""
    m = new_machine(params(nr_nodes=2, nr_cpus=4, nr_frames=65536))
    ram = [PfnRange(0, 65536)]
    for n, spans in enumerate(SPANS):
        lay_out_node(m, n, spans, ram, ram)
    m.cpus["node"][list(THERE)] = 1
    build_all_zonelists(m)
    for spans in SPANS:
        for span in spans:
            free_range(m, span.start, span.end)
    init_watermarks(m, thp_enabled=False)
    m.work[0] = 0
    recount(m)
    return m


def zone_of(m: Machine, pfn: int) -> str:
    """The name of a page's zone."""
    (z,) = np.flatnonzero((m.zones["start_pfn"] <= pfn) & (pfn < m.zones["end_pfn"])).tolist()
    return zone_names(m)[z]


def walk(m: Machine, cpu: int, highest: int) -> list[str]:
    """The zones that a request of a CPU goes through."""
    found = []
    ref = int(m.nodes[m.cpus[cpu].node].zoneref[highest])
    while m.zonerefs[ref].zone != NO_ZONE:
        if m.zonerefs[ref].zone_type <= highest:
            found.append(zone_names(m)[m.zonerefs[ref].zone])
        ref += 1
    return found


def test_a_request_goes_through_its_own_nodes_zones_first() -> None:
    m = two_nodes()
    lower = ["DMA32 of node 0", "DMA of node 0"]
    for cpu in HERE:
        assert walk(m, cpu, ZONE_NORMAL) == walk(m, cpu, ZONE_MOVABLE) == [NORMAL_HERE, *lower, NORMAL_THERE]
    for cpu in THERE:
        assert walk(m, cpu, ZONE_NORMAL) == walk(m, cpu, ZONE_MOVABLE) == [NORMAL_THERE, NORMAL_HERE, *lower]
        assert walk(m, cpu, ZONE_DMA32) == lower
        assert walk(m, cpu, ZONE_DMA) == lower[1:]


def test_pages_come_from_the_own_node_while_it_has_any_and_go_back_where_they_came_from() -> None:
    m = two_nodes()
    fresh = m.zones["nr_free"].copy()
    asked = [(cpu, order) for order in (0, 3, 4, 9) for cpu in (*HERE, *THERE)]
    got = [(cpu, drivers.alloc(m, cpu, GFP_KERNEL, order), order) for cpu, order in asked]
    assert {zone_of(m, pfn) for cpu, pfn, _ in got if cpu in HERE} == {NORMAL_HERE}
    assert {zone_of(m, pfn) for cpu, pfn, _ in got if cpu in THERE} == {NORMAL_THERE}
    assert {zone_of(m, drivers.alloc(m, cpu, DMA32, 0)) for cpu in range(4)} == {"DMA32 of node 0"}
    recount(m)
    for n, (_, pfn, order) in enumerate(got):
        drivers.free(m, n % 4, pfn, order)  # half of them by CPUs of the other node
    recount(m)
    drivers.drain_all(m, 0)
    recount(m)
    assert (m.zones["nr_free"][ZONE_NORMAL] == fresh[ZONE_NORMAL]).all()
    assert (m.zones["nr_free"][-2] == fresh[-2]).all()


@pytest.mark.slow
def test_a_full_node_is_helped_out_by_the_other() -> None:
    m = two_nodes()
    seen: Counter[str] = Counter()
    pfns = []
    while (pfn := drivers.alloc(m, THERE[0], GFP_NOWAIT, 0)) != NO_PAGE:
        pfns.append(pfn)
    seen.update(zone_of(m, pfn) for pfn in pfns)
    assert list(seen) == [NORMAL_THERE, NORMAL_HERE, "DMA32 of node 0", "DMA of node 0"]
    assert m.events[NOPAGE] == 1
    assert m.events[KSWAPD_WAKEUPS] >= 2, "that of each node"
    recount(m)
    for pfn in pfns:
        drivers.free(m, HERE[0], pfn, 0)
    drivers.drain_all(m, 0)
    recount(m)


def test_a_random_mix_on_both_nodes_leaves_nothing_behind() -> None:
    m = two_nodes()
    free_pages = int((m.zones["nr_free"] << np.arange(m.zones["nr_free"].shape[1])).sum())
    random = Random(3)
    held: list[tuple[int, int]] = []
    for step in range(3000):
        cpu = random.randrange(4)
        if held and random.random() < 0.45:
            drivers.free(m, cpu, *held.pop(random.randrange(len(held))))
        else:
            order = random.choice([0, 0, 0, 1, 3, 4, 9])
            pfn = drivers.alloc(m, cpu, random.choice([GFP_KERNEL, DMA32, GFP_NOWAIT]), order)
            held += [(pfn, order)] if pfn != NO_PAGE else []
        if step % 300 == 0:
            recount(m)
    pfns = np.zeros(64, np.int64)
    for cpu in range(4):
        nr = drivers.bulk(m, cpu, GFP_KERNEL, 64, pfns)
        drivers.folios(m, 3 - cpu, pfns[:nr].copy(), np.zeros(nr, np.int64))
    for pfn, order in held:
        drivers.free(m, random.randrange(4), pfn, order)
    drivers.drain_all(m, 0)
    recount(m)
    assert int((m.zones["nr_free"] << np.arange(m.zones["nr_free"].shape[1])).sum()) == free_pages


def test_lists_can_be_saved_and_loaded() -> None:
    m = two_nodes()
    drivers.alloc(m, THERE[0], GFP_KERNEL, 0)
    again = new_machine(params(nr_nodes=2, nr_cpus=4, nr_frames=65536))
    load(again, save(m))
    recount(again)
    assert (again.zonerefs == m.zonerefs).all()
    assert (again.zones["nr_free"] == m.zones["nr_free"]).all()


def test_files_of_proc_tell_nodes_apart() -> None:
    m = two_nodes()
    populated = [(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")]
    assert [(row.node, row.zone) for row in buddyinfo.parse(buddyinfo.show(m))] == populated
    infos = zoneinfo.parse(zoneinfo.show(m))
    assert [(info.node, info.zone) for info in infos if info.pagesets] == populated
    assert [(info.node, info.zone) for info in infos if info.node_stats] == [(0, "DMA"), (1, "Normal")]
    nodes = pagetypeinfo.parse(pagetypeinfo.show(m))
    assert [(row.node, row.zone) for node in nodes for row in node.pageblocks] == populated


# ---- slabs


def with_cache() -> tuple[Machine, Slub]:
    """One cache of 4 objects a slab, of which CPUs keep none apart."""
    m = two_nodes()
    return m, new_slub(m, [geometry_of(12, 1024, 0, partial=(0, 5))])


def alloc(m: Machine, sl: Slub, cpu: int) -> int:
    """An object."""
    return slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, slub_drivers.ALLOC, 0, GFP_KERNEL, 0))


def free(m: Machine, sl: Slub, cpu: int, obj: int) -> None:
    """Free it."""
    slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, slub_drivers.FREE, obj, 0, 0))


def test_a_partial_slab_is_on_its_nodes_list_whoever_frees_to_it() -> None:
    m, sl = with_cache()
    objects = {cpu: [alloc(m, sl, cpu) for _ in range(40)] for cpu in (HERE[0], THERE[0])}
    for cpu, of_cpu in objects.items():
        for obj in of_cpu[::4]:
            free(m, sl, (HERE[1], THERE[1])[cpu == HERE[0]], obj)  # by the other node
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, 0, 0, 0))
    slub_drivers.recount(m, sl)
    here, there = sl.cache_nodes
    assert (here.nr_slabs, here.nr_partial) == (there.nr_slabs, there.nr_partial) == (10, 10)
    assert slab_totals(sl, 0).active_objects == 60
    one = alloc(m, sl, HERE[1])
    assert zone_of(m, slab_pfn(sl, one)) == NORMAL_HERE
    assert zone_of(m, slab_pfn(sl, alloc(m, sl, THERE[1]))) == NORMAL_THERE
    slub_drivers.recount(m, sl)


def slab_pfn(sl: Slub, obj: int) -> int:
    """The page of an object's slab."""
    assert obj != NO_OBJECT
    return int(sl.slabs[sl.slab_of_chunk[obj >> 3]].pfn)


def test_a_list_lock_is_that_of_the_slabs_node() -> None:
    m, sl = with_cache()
    locks = all_locks(len(m.zones), len(sl.cache_nodes))
    assert list_lock_of(sl, 0, 0) != list_lock_of(sl, 0, 1)
    wanted = []
    objects = [alloc(m, sl, THERE[0]) for _ in range(40)]
    for obj in objects:
        more = slub_drivers.begin(m, sl, HERE[0], slub_drivers.FREE, obj, 0, 0)
        while more:
            if more == LOCK:
                wanted.append(int(m.contexts[HERE[0]].lock))
            more = slub_drivers.locked(m, sl, HERE[0])
    of_lists = [n for n in wanted if locks[n].lock_class == NODE_LIST_LOCK]
    assert set(of_lists) == {list_lock_of(sl, 0, 1)}


@pytest.mark.parametrize("seed", range(3))
def test_slabs_of_both_nodes_survive_a_random_mix(seed: int) -> None:
    m, sl = with_cache()
    random = Random(seed)
    held: list[int] = []
    for step in range(2500):
        cpu = random.randrange(4)
        if held and random.random() < (0.4 if step < 1200 else 0.5):
            free(m, sl, cpu, held.pop(random.randrange(len(held))))
        elif random.random() < 0.02:
            slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, slub_drivers.SHRINK, 0, 0, 0))
        else:
            held.append(alloc(m, sl, cpu))
        if step % 250 == 0:
            slub_drivers.recount(m, sl)
    assert min(int(node.nr_slabs) for node in sl.cache_nodes) > 5
    for obj in held:
        free(m, sl, random.randrange(4), obj)
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.DESTROY, 0, 0, 0))
    slub_drivers.recount(m, sl)
    assert sl.contexts[0].remaining == 0
    assert [int(node.nr_slabs) for node in sl.cache_nodes] == [0, 0]
    drivers.drain_all(m, 0)
    recount(m)
