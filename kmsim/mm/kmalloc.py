"""kmalloc: objects of any size, small ones from slabs, large ones from the page allocator (kernel: mm/slub.c).

Which cache a size and a GFP mask mean is asked of `mm.slab_common` beforehand and handed in as a number; NO_CACHE
means the page allocator. What kmalloc gives is a `Memory`: an object of SLUB, or a large block. Verbs are cut into
stages as those of `mm.slub`: each returns what it wants (see `mm.wants`), and `kmalloc_resume` goes on.

The kernel keeps a large block's size as its order only, and so `ksize` is what the block or the slab's object
holds. Sizes are bytes. Leaves out ZERO_SIZE_PTR (a size of 0 is the caller's to see), kfree_rcu and NUMA.
Invariant: as `mm.slub`'s; a large block's page record holds its order. Lock order: as there.
"""

from typing import NamedTuple

from kmsim.jit import core, small
from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_COMP
from kmsim.mm.indices import CacheIdx, ContextIdx, Gfp, Pfn
from kmsim.mm.limits import SIZE_MAX
from kmsim.mm.mmzone import NO_PAGE, NOPAGE, Machine
from kmsim.mm.page_alloc import alloc_begin, free_begin
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.slub import pages_resume, slab_alloc_begin, slab_free_begin, slab_resume
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import NO_CACHE, NO_OBJECT, Slub
from kmsim.mm.slub_steps import ALLOC_LARGE, FREE_LARGE, LARGE_ALLOCATED, OBJECT_MOVED, SLUB_DONE
from kmsim.mm.wants import DONE, LOCK, NOT_TRIED, want_to_go_on


class Memory(NamedTuple):
    """What kmalloc gives: an object of SLUB, or a block of the page allocator; where there is no memory, neither."""

    obj: int  # or NO_OBJECT
    large_pfn: int  # the block's first page frame, or NO_PAGE; its order is in its page's record


def kmalloc_array_size(nr: int, size: int) -> int | None:
    """Bytes of an array, or None where they overflow size_t, and kmalloc_array returns NULL (kernel: size_mul)."""
    return nr * size if nr * size <= SIZE_MAX else None


@small
def kmalloced(sl: Slub, ac: ContextIdx) -> Memory:
    """What the context's kmalloc or krealloc has given."""
    return Memory(int(sl.contexts[ac].obj), int(sl.contexts[ac].large_pfn))


@small
def is_nothing(memory: Memory) -> bool:
    """Is there no memory? (kernel: ZERO_OR_NULL_PTR)"""
    return memory.obj == NO_OBJECT and memory.large_pfn == NO_PAGE


@small
def ksize(m: Machine, sl: Slub, memory: Memory) -> int:
    """How many bytes can really be used (kernel: ksize, with slab_ksize)."""
    if memory.large_pfn != NO_PAGE:
        return 1 << (int(m.pages[memory.large_pfn].order) + int(m.params[0].page_shift))
    return int(sl.caches[int(sl.slabs[slab_of(sl, memory.obj)].cache)].object_size)


@small
def kmalloc_begin(m: Machine, sl: Slub, ac: ContextIdx, size: int, cache: CacheIdx, gfp: Gfp) -> int:
    """Start to allocate `size` > 0 bytes from a cache, or NO_CACHE; what does that want? (kernel: kmalloc)

    When it is done, `kmalloced` says what it has given.
    """
    sl.contexts[ac].realloc_size = 0
    return allocate(m, sl, ac, size, cache, gfp)


@small
def allocate(m: Machine, sl: Slub, ac: ContextIdx, size: int, cache: CacheIdx, gfp: Gfp) -> int:
    """Start the allocation itself."""
    sl.contexts[ac].large_pfn = NO_PAGE
    if cache != NO_CACHE:
        return slab_alloc_begin(m, sl, ac, cache, gfp)
    return alloc_large(m, sl, ac, size, gfp)


@core
def alloc_large(m: Machine, sl: Slub, ac: ContextIdx, size: int, gfp: Gfp) -> int:
    """Ask the page allocator (kernel: ___kmalloc_large_node)."""
    context = sl.contexts[ac]
    context.obj = NO_OBJECT
    order = get_order(size, int(m.params[0].page_shift))
    if order > m.params[0].max_page_order:
        m.contexts[ac].failure = NOPAGE  # the kernel warns, and counts nothing
        return DONE
    wants = alloc_begin(m, ac, gfp | GFP_COMP, order)
    context.stage = ALLOC_LARGE
    context.zone_locked = int(wants == LOCK)
    return wants if wants else large_allocated(m, sl, ac)


@small
def large_allocated(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The page allocator has answered."""
    after_lock(m, ac)
    sl.contexts[ac].stage = SLUB_DONE
    sl.contexts[ac].large_pfn = m.contexts[ac].pfn
    return DONE


@small
def kfree_begin(m: Machine, sl: Slub, ac: ContextIdx, memory: Memory) -> int:
    """Start to free what kmalloc has given, which may be nothing; what does that want? (kernel: kfree)"""
    sl.contexts[ac].realloc_size = 0
    return release(m, sl, ac, memory)


@small
def release(m: Machine, sl: Slub, ac: ContextIdx, memory: Memory) -> int:
    """Start the free itself."""
    if memory.large_pfn != NO_PAGE:
        return free_large(m, sl, ac, memory.large_pfn)
    return DONE if memory.obj == NO_OBJECT else slab_free_begin(m, sl, ac, memory.obj)


@core
def free_large(m: Machine, sl: Slub, ac: ContextIdx, pfn: Pfn) -> int:
    """Give a large block back (kernel: free_large_kmalloc)."""
    wants = free_begin(m, ac, pfn, int(m.pages[pfn].order))
    sl.contexts[ac].stage = FREE_LARGE if wants else SLUB_DONE
    if wants == DONE:
        after_lock(m, ac)
    return wants


@core
def krealloc_begin(m: Machine, sl: Slub, ac: ContextIdx, old: Memory, size: int, cache: CacheIdx, gfp: Gfp) -> int:
    """Start to make memory `size` bytes large, in place or by moving it; what does that want? (kernel: krealloc)

    `cache` is what kmalloc would take for the new size. When it is done, `kmalloced` says where the memory is;
    nowhere if `size` is 0, which frees it, or if there is no memory of the new size: then the old is left as it was.
    """
    context = sl.contexts[ac]
    context.realloc_size = 0
    if size == 0:
        wanted = release(m, sl, ac, old)
        context.obj = NO_OBJECT
        context.large_pfn = NO_PAGE
        return wanted
    if not is_nothing(old) and ksize(m, sl, old) >= size:
        context.obj = old.obj
        context.large_pfn = old.large_pfn
        return DONE
    context.realloc_size = size
    context.realloc_waits = 0
    context.old_obj = old.obj
    context.old_large_pfn = old.large_pfn
    wants = allocate(m, sl, ac, size, cache, gfp)
    return wants if wants else moved(m, sl, ac)


@core
def moved(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """There is new memory, or none: copy what the old holds, and free that."""
    context = sl.contexts[ac]
    context.realloc_size = 0
    context.stage = SLUB_DONE
    old = Memory(int(context.old_obj), int(context.old_large_pfn))
    if is_nothing(kmalloced(sl, ac)) or is_nothing(old):
        return DONE
    sl.work[0].bytes_copied += ksize(m, sl, old)
    return release(m, sl, ac, old)


@core
def kmalloc_resume(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """What kmalloc, kfree or krealloc wanted is granted: go on; what does it want now?"""
    context = sl.contexts[ac]
    stage = int(context.stage)
    if m.contexts[ac].tried == NOT_TRIED:
        context.realloc_waits = 1
    if stage == OBJECT_MOVED:
        return moved(m, sl, ac)
    if stage == LARGE_ALLOCATED:
        wants = large_allocated(m, sl, ac)
    elif stage in (ALLOC_LARGE, FREE_LARGE):
        wants = large_resume(m, sl, ac)
    else:
        wants = slab_resume(m, sl, ac)
    if wants or context.realloc_size == 0:
        return wants
    if not context.realloc_waits:
        return moved(m, sl, ac)
    context.stage = OBJECT_MOVED
    return want_to_go_on(m, ac)


@small
def large_resume(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The same, for a large block: its pages are zeroed without the lock."""
    context = sl.contexts[ac]
    wants = pages_resume(m, sl, ac)
    if wants != DONE:
        return wants
    if context.stage == FREE_LARGE:
        context.stage = SLUB_DONE
        return DONE
    if not context.zone_locked:
        return large_allocated(m, sl, ac)
    context.stage = LARGE_ALLOCATED
    return want_to_go_on(m, ac)
