"""The price list in whole picoseconds: what `mm` says was done, turned into time.

Mechanism and price are separate: no price is known in `mm`, and a sweep over prices touches no
allocator code. What was done is a record of `mm.mmzone.work_t`. The first miss of a stage is exposed
and the others overlap with it; inside per-CPU-list and bulk loops all overlap: two prices.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.config.costs import CostsConfig, Price
from kmsim.jit import only_with, small
from kmsim.sim.core.records import Core

PRICES = tuple(name for name, field in CostsConfig.model_fields.items() if field.annotation is Price)
price_t = np.dtype((np.record, [(name, np.int64) for name in PRICES]))


def prices(costs: CostsConfig) -> NDArray[np.void]:
    """The list of a resolved config: one record of `price_t`, in picoseconds."""
    record = np.zeros(1, price_t)
    for name in PRICES:
        record[name] = getattr(costs, name).value
    return record


@small
def instructions_ps(s: Core) -> int:
    """The instructions of what was done, without those of the path itself and without cache misses."""
    work = s.m.work[0]
    price = s.prices[0]
    return int(
        work.splits * price.buddy_split
        + work.merges * price.buddy_merge
        + work.blocks_moved * price.page_moved
        + work.frames_scanned * price.frame_scanned
        + work.watermark_checks * price.watermark_check
        + work.pages_checked * price.page_check
        + work.bytes_zeroed * price.zero_byte
        + work.pages_freed * price.free_fast
    )


@only_with("slub", 0)
def slab_instructions_ps(s: Core) -> int:
    """The instructions of what SLUB did beside its fast path, without constructors."""
    work = s.slub.work[0]
    price = s.prices[0]
    return int(
        work.alloc_slow * price.slab_alloc_slow
        + work.free_slow * price.slab_free_slow
        + work.cmpxchg * price.slab_cmpxchg
        + work.slabs_new * price.slab_new
        + work.slabs_discarded * price.slab_discard
        + work.slabs_moved * price.slab_moved
        + work.objects_set_up * price.object_set_up
        + work.bulk_objects * price.bulk_object
    )


@only_with("vm", 0)
def vm_instructions_ps(s: Core) -> int:
    """The instructions of what vmalloc did with addresses and page tables."""
    work = s.vm.work[0]
    price = s.prices[0]
    return int(
        work.areas_new * price.vmalloc
        + work.areas_gone * price.vfree
        + (work.tree_steps + work.areas_moved) * price.vmap_step
        + work.ptes_set * price.pte_set
        + work.ptes_cleared * price.pte_cleared
        + work.pages_taken * price.bulk_page
    )


@small
def cache_lines_ps(s: Core, overlapped: bool) -> int:
    """The struct pages' cache lines that were touched; where not all misses overlap, one is exposed."""
    work = s.m.work[0]
    price = s.prices[0]
    near = work.lines_hot * price.line_hot + work.lines_sequential * price.line_sequential
    far = work.lines_other * price.line_other_overlapped + work.lines_memory * price.line_memory_overlapped
    if not overlapped and work.lines_memory:
        far += price.line_memory - price.line_memory_overlapped
    elif not overlapped and work.lines_other:
        far += price.line_other - price.line_other_overlapped
    return int(near + far)
