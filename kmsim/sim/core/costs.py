"""The price list in whole picoseconds: what `mm` says was done, turned into time.

Mechanism and price are separate: no price is known in `mm`, and a sweep over prices touches no
allocator code. What was done is a record of `mm.work.work_t`. The first miss of a stage is exposed
and the others overlap with it: two prices. A lock's line that comes from another CPU, and a zone's that
others have read, are always waited for. What comes from another node costs more, by how far that is
(`mm.remote_lines`). What SLUB and vmalloc have done is forgotten when it is priced, and what the page allocator
has done when a stage begins.

A lock that is handed to a CPU that waits costs no less than a free one that another CPU held last: both have to
fetch its line. An operation that meets no contention has one latency: interrupts of other devices, misses of the TLB
and of data that is not in the model add nothing to its tail.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.config.costs import CostsConfig, Price
from kmsim.jit import Record, core, only_with, small
from kmsim.mm.indices import CacheIdx, ContextIdx, CpuIdx, LockIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.remote_lines import distance_beyond, has_nodes
from kmsim.mm.slub_records import NO_CACHE
from kmsim.mm.zonelist import numa_node_id
from kmsim.sim.core.records import NOBODY, OF_PAGES, OF_VM, Core

PRICES = tuple(name for name, field in CostsConfig.model_fields.items() if field.annotation is Price)
price_t = np.dtype((Record, [(name, np.int64) for name in PRICES]))


def prices(costs: CostsConfig) -> NDArray[np.void]:
    """The list of a resolved config: one record of `price_t`, in picoseconds."""
    record = np.zeros(1, price_t)
    for name in PRICES:
        record[name] = getattr(costs, name).value
    return record


@small
def no_work(s: Core) -> None:
    """A new stage: the page allocator has done nothing yet."""
    work = s.m.work[0]
    work.splits = 0
    work.merges = 0
    work.blocks_moved = 0
    work.frames_scanned = 0
    work.pages_freed = 0
    no_light_work(s)


@small
def no_light_work(s: Core) -> None:
    """The same for what is done outside locks, which is all that most stages do."""
    work = s.m.work[0]
    work.watermark_checks = 0
    work.pages_checked = 0
    work.tails_walked = 0
    work.bytes_zeroed = 0
    work.lines_hot = 0
    work.lines_other = 0
    work.lines_sequential = 0
    work.lines_memory = 0
    work.lines_shared = 0
    if has_nodes(s.m):
        work.beyond_other = 0
        work.beyond_other_max = 0
        work.beyond_memory = 0
        work.beyond_memory_max = 0
        work.beyond_shared = 0


@small
def price(s: Core, ac: ContextIdx) -> int:
    """The instructions of what the run's stage has done, beside those of a path."""
    instructions = instructions_ps(s)
    verbs = s.runs[ac].verbs
    if verbs != OF_PAGES:
        instructions += slab_price(s, ac)
    if verbs == OF_VM:
        instructions += vm_price(s)
    return instructions + reclaim_price(s.m, s)


@small
def instructions_ps(s: Core) -> int:
    """The instructions of what was done, without those of the path itself and without cache misses."""
    work = s.m.work[0]
    price = s.prices[0]
    under_locks = (
        work.splits * price.buddy_split
        + work.merges * price.buddy_merge
        + work.blocks_moved * price.page_moved
        + work.frames_scanned * price.frame_scanned
        + work.pages_freed * price.free_fast
    )
    return int(under_locks) + light_instructions_ps(s)


@only_with("lru", 0)
def reclaim_price(m: Machine, s: Core) -> int:
    """The instructions of what reclaim and the page cache did, and their devices; then nothing is done."""
    work = m.lru.work[0]
    price = s.prices[0]
    instructions = int(
        work.folios_moved * price.folio_isolated
        + work.folios_scanned * price.folio_scanned
        + work.folios_unmapped * price.folio_unmapped
        + work.pages_swapped * price.swap_write
        + work.pages_read * price.page_read
        + work.pages_found * price.page_cache_hit
    )
    work.folios_moved = 0
    work.folios_scanned = 0
    work.folios_unmapped = 0
    work.pages_swapped = 0
    work.pages_read = 0
    work.pages_found = 0
    return instructions


@only_with("slub", 0)
def slab_price(s: Core, ac: ContextIdx) -> int:
    """The instructions of what SLUB did beside its fast path; then nothing is done."""
    work = s.slub.work[0]
    price = s.prices[0]
    instructions = int(
        work.alloc_slow * price.slab_alloc_slow
        + work.free_slow * price.slab_free_slow
        + work.cmpxchg * price.slab_cmpxchg
        + work.slabs_new * price.slab_new
        + work.slabs_discarded * price.slab_discard
        + work.slabs_moved * price.slab_moved
        + work.objects_set_up * price.object_set_up
        + work.bulk_objects * price.bulk_object
        + work.objects_constructed * s.constructors[s.slub.contexts[ac].cache]
        + work.bytes_copied * price.zero_byte
    )
    no_slab_work(s)
    return instructions


@only_with("slub")
def no_slab_work(s: Core) -> None:
    """SLUB has done nothing yet."""
    work = s.slub.work[0]
    work.alloc_slow = 0
    work.free_slow = 0
    work.cmpxchg = 0
    work.slabs_new = 0
    work.objects_set_up = 0
    work.objects_constructed = 0
    work.slabs_moved = 0
    work.slabs_discarded = 0
    work.bulk_objects = 0
    work.bytes_copied = 0


@only_with("vm", 0)
def vm_price(s: Core) -> int:
    """The instructions of what vmalloc did with addresses and page tables; then nothing is done."""
    work = s.vm.work[0]
    price = s.prices[0]
    instructions = int(
        work.areas_new * price.vmalloc
        + work.areas_gone * price.vfree
        + (work.tree_steps + work.areas_moved) * price.vmap_step
        + work.ptes_set * price.pte_set
        + work.ptes_cleared * price.pte_cleared
        + work.pages_taken * price.bulk_page
        + work.bytes_copied * price.zero_byte
    )
    no_vm_work(s)
    return instructions


@only_with("vm")
def no_vm_work(s: Core) -> None:
    """vmalloc has done nothing yet."""
    work = s.vm.work[0]
    work.areas_new = 0
    work.areas_gone = 0
    work.tree_steps = 0
    work.areas_moved = 0
    work.ptes_set = 0
    work.ptes_cleared = 0
    work.tables_new = 0
    work.pages_taken = 0
    work.bytes_copied = 0


@small
def kmalloc_path_ps(s: Core, cache: CacheIdx) -> int:
    """The fast path of what kmalloc takes: an object of a cache, or pages where there is none for the size."""
    return int(s.prices[0].slab_alloc_fast if cache != NO_CACHE else s.prices[0].alloc_fast)


@small
def light_instructions_ps(s: Core) -> int:
    """The instructions of what is done outside locks."""
    work = s.m.work[0]
    price = s.prices[0]
    nr_walked = work.pages_checked + work.tails_walked
    return int(
        work.watermark_checks * price.watermark_check
        + nr_walked * price.page_check
        + work.bytes_zeroed * price.zero_byte
    )


@small
def cache_lines_ps(s: Core) -> int:
    """The cache lines that were touched: the first miss is exposed, and each line that others have read."""
    work = s.m.work[0]
    price = s.prices[0]
    near = work.lines_hot * price.line_hot + work.lines_sequential * price.line_sequential
    far = work.lines_other * price.line_other_overlapped + work.lines_memory * price.line_memory_overlapped
    if work.lines_memory:
        far += price.line_memory - price.line_memory_overlapped
    elif work.lines_other:
        far += price.line_other - price.line_other_overlapped
    if has_nodes(s.m):
        far += beyond_ps(s)
    return int(near + far + work.lines_shared * price.line_other)


@core
def beyond_ps(s: Core) -> int:
    """What the cache lines add that have come from other nodes: the furthest is exposed."""
    work = s.m.work[0]
    price = s.prices[0]
    beyond = work.beyond_other * price.line_other_remote_overlapped
    beyond += work.beyond_memory * price.line_memory_remote_overlapped
    if work.lines_memory:
        beyond += work.beyond_memory_max * (price.line_memory_remote - price.line_memory_remote_overlapped)
    else:
        beyond += work.beyond_other_max * (price.line_other_remote - price.line_other_remote_overlapped)
    return int(beyond + work.beyond_shared * price.line_other_remote)


@small
def handover_ps(s: Core, holder: CpuIdx, c: CpuIdx) -> int:
    """From a lock's release to its next holder, who waits for it: its line comes from another CPU."""
    return int(s.prices[0].lock_handover + line_of_lock_ps(s, holder, c))


@small
def taking_ps(s: Core, n: LockIdx, c: CpuIdx) -> int:
    """To take a lock that nobody holds: its line may be with the CPU that held it last."""
    taking = s.prices[0].lock_uncontended
    holder = int(s.locks[n].holder)
    if holder != c:
        taking += line_of_lock_ps(s, holder, c)
    return int(taking)


@small
def line_of_lock_ps(s: Core, holder: CpuIdx, c: CpuIdx) -> int:
    """A lock's line, from the CPU that held it last; where nobody has, it is as far as from the own node."""
    line = s.prices[0].line_other
    if has_nodes(s.m) and holder != NOBODY:
        line += distance_beyond(s.m, c, numa_node_id(s.m, holder)) * s.prices[0].line_other_remote
    return int(line)
