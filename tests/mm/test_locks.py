"""The table of locks: every lock has one number and one name, and ARCHITECTURE.md shows the table."""

import re
from pathlib import Path

from kmsim.mm.locks import (
    CSD_LOCK,
    LOCK_CLASSES,
    LOCK_KINDS,
    LOCK_SPIN,
    LOCK_WAIT,
    LRU_LOCK,
    NODE_LIST_LOCK,
    PCP_LOCK,
    VMALLOC_CLASSES,
    VMAP_NODE_CLASSES,
    ZONE_LOCK,
    Lock,
    all_locks,
    csd_lock,
    first_of_class,
    lru_lock,
    names_of_locks,
    nth_list_lock,
    pcp_lock,
    vmalloc_lock,
    vmap_node_lock,
    zone_lock,
)
from kmsim.mm.lru_records import new_lru

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
NR_ZONES, NR_CACHES, NR_NODES = 5, 3, 2


def test_every_lock_has_the_number_that_its_function_gives() -> None:
    locks = all_locks(NR_ZONES, NR_CACHES, NR_NODES, NR_NODES)
    classes = (NODE_LIST_LOCK, VMALLOC_CLASSES[0], PCP_LOCK, LRU_LOCK)
    lists, own, pcps, lrus = (first_of_class(locks, of) for of in classes)
    numbers = {
        **{Lock(ZONE_LOCK, z): zone_lock(z) for z in range(NR_ZONES)},
        **{Lock(NODE_LIST_LOCK, cache): nth_list_lock(lists, cache) for cache in range(NR_CACHES)},
        **{Lock(of, 0): vmalloc_lock(own, of) for of in VMALLOC_CLASSES},
        **{Lock(of, node): vmap_node_lock(own, node, of) for of in VMAP_NODE_CLASSES for node in range(NR_NODES)},
        **{Lock(PCP_LOCK, z): pcp_lock(pcps, z) for z in range(NR_ZONES)},
        Lock(CSD_LOCK, 0): csd_lock(pcps, NR_ZONES),
        **{Lock(LRU_LOCK, node): lru_lock(lrus, node) for node in range(NR_NODES)},
    }
    assert numbers == {lock: n for n, lock in enumerate(locks)}
    assert {lock.lock_class for lock in locks} == set(range(len(LOCK_CLASSES)))


def test_a_machine_that_reclaims_knows_its_locks_by_their_numbers() -> None:
    lru = new_lru((NR_NODES, NR_ZONES, 1, 1), 0)
    locks = all_locks(NR_ZONES, nr_lruvecs=NR_NODES)
    assert [locks[n] for n in lru.zones["pcp_lock"]] == [Lock(PCP_LOCK, z) for z in range(NR_ZONES)]
    assert [locks[n] for n in lru.lruvecs["lru_lock"]] == [Lock(LRU_LOCK, node) for node in range(NR_NODES)]


def test_a_lock_has_the_same_number_with_more_allocators_behind_it() -> None:
    locks = all_locks(NR_ZONES, NR_CACHES, NR_NODES)
    assert all_locks(NR_ZONES)[:NR_ZONES] == locks[:NR_ZONES]
    assert all_locks(NR_ZONES, NR_CACHES)[: NR_ZONES + NR_CACHES] == locks[: NR_ZONES + NR_CACHES]


def test_no_two_locks_have_one_name() -> None:
    names = names_of_locks(all_locks(2, 2, 2, 1), zones=("DMA32", "Normal"), lists=("dentry", "kmalloc-8"))
    assert names == [
        *("zone DMA32", "zone Normal", "list_lock dentry", "list_lock kmalloc-8"),
        *("free_vmap_area_lock", "vmap_purge_lock", "init_mm.page_table_lock"),
        *("vmap node 0 busy", "vmap node 0 lazy", "vmap node 0 pool"),
        *("vmap node 1 busy", "vmap node 1 lazy", "vmap node 1 pool"),
        *("pcp lists DMA32", "pcp lists Normal", "csd_lock", "lru_lock 0"),
    ]


def test_architecture_shows_the_table() -> None:
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("\n## Locks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (\d) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    in_order = sorted(LOCK_CLASSES, key=lambda of: of.order)
    assert rows == [(of.name, str(of.order), LOCK_KINDS[of.kind], of.protects) for of in in_order]


def test_without_vmalloc_no_lock_is_of_a_kind_that_only_its_core_grants() -> None:
    kinds = {LOCK_CLASSES[lock.lock_class].kind for lock in all_locks(8, 40, 0)}
    assert not kinds & {LOCK_SPIN, LOCK_WAIT}  # compiled with vmalloc only: sim.core.grant, sim.core.flush
    assert {LOCK_SPIN, LOCK_WAIT} <= {LOCK_CLASSES[lock.lock_class].kind for lock in all_locks(8, 40, 2)}
