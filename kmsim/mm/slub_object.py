"""Questions about an object's number: its address, its cache, whether it may be freed (kernel: virt_to_slab).

Leaves out what only debugging would know: an object that was freed and allocated again in between. Takes no
lock: what an object belongs to changes only when it is not allocated. Invariant: a number behind the chunks in
use belongs to nothing.
"""

from kmsim.jit import small
from kmsim.mm.indices import CacheIdx, ObjectIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_records import IN_SHEAF
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import CHUNK_SHIFT, IN_USE, NO_CACHE, SLAB_LIVE, Slub

# What is wrong with an object that somebody wants to free; 0: nothing.
FREE_NO_OBJECT, FREE_NO_SLAB, FREE_TWICE, FREE_WRONG_CACHE = range(1, 5)


@small
def address_of(m: Machine, sl: Slub, obj: ObjectIdx) -> int:
    """An object's address in the linear mapping: its page frame's number and its offset there."""
    record = sl.slabs[slab_of(sl, obj)]
    offset = (obj - int(record.first_object)) * int(sl.caches[int(record.cache)].slot_size)
    return (int(record.pfn) << int(m.params[0].page_shift)) + offset


@small
def slab_owner(sl: Slub, obj: ObjectIdx) -> CacheIdx:
    """The cache that an object belongs to, or NO_CACHE where it belongs to none."""
    if obj < 0 or obj >> CHUNK_SHIFT >= sl.params[0].nr_chunks_used:
        return NO_CACHE
    record = sl.slabs[slab_of(sl, obj)]
    if int(record.slab_flags) & SLAB_LIVE == 0 or obj - int(record.first_object) >= int(record.objects):
        return NO_CACHE
    return int(record.cache)


@small
def free_problem(sl: Slub, obj: ObjectIdx, cache: CacheIdx) -> int:
    """Why an object must not be freed to a cache, or 0 if it may; NO_CACHE: to its own cache, as kfree does."""
    if obj < 0 or obj >> CHUNK_SHIFT >= sl.params[0].nr_chunks_used:
        return FREE_NO_OBJECT
    owner = slab_owner(sl, obj)
    if owner == NO_CACHE:
        return FREE_NO_SLAB
    link = int(sl.links[obj])
    if link < IN_USE or link & IN_SHEAF:
        return FREE_TWICE
    return FREE_WRONG_CACHE if cache != NO_CACHE and cache != owner else 0
