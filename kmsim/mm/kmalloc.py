"""kmalloc: objects of any size, small ones from slabs, large ones from the page allocator (kernel: mm/slub.c).

Which cache a size and a GFP mask mean is asked of `mm.slab_common` beforehand and handed in as a number; LARGE
means the page allocator. What kmalloc returns is one number: an object of SLUB, NO_OBJECT, or, below that, a
large block (`large_pfn`). Verbs are cut into stages as those of `mm.slub`: `kmalloc_locked` runs the critical
section that `sl.contexts[ac].lock` names, or, where that is NO_LOCK, what follows one.

The kernel keeps a large block's size as its order only, and so `ksize` is what the block or the slab's object
holds. Sizes are bytes. Leaves out ZERO_SIZE_PTR (a size of 0 is the caller's to see), kfree_rcu and NUMA.
Invariant: as `mm.slub`'s; a large block's page record holds its order. Lock order: as there.
"""

from kmsim.jit import core, small
from kmsim.mm.mmzone import NO_PAGE, NOPAGE, Machine
from kmsim.mm.page_alloc import after_lock, alloc_begin, free_begin, locked
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin, slab_locked
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import GFP_COMP, NO_OBJECT, Slub
from kmsim.mm.slub_steps import ALLOC_LARGE, DONE, FREE_LARGE, LARGE_ALLOCATED, NO_LOCK, OBJECT_MOVED

LARGE = -1  # for a cache: size > KMALLOC_MAX_CACHE_SIZE
_FIRST_LARGE = -2
_SIZE_MAX = (1 << 64) - 1


def kmalloc_array_size(nr: int, size: int) -> int | None:
    """Bytes of an array, or None where they overflow size_t, and kmalloc_array returns NULL (kernel: size_mul)."""
    return nr * size if nr * size <= _SIZE_MAX else None


@small
def size_order(m: Machine, size: int) -> int:
    """The order of the smallest block that holds `size` > 0 bytes, or one more than there are (kernel: get_order)."""
    order = 0
    while order <= m.params[0].max_page_order and size > 1 << (order + int(m.params[0].page_shift)):
        order += 1
    return order


@small
def is_large(obj: int) -> bool:
    """Is it a block of the page allocator?"""
    return obj <= _FIRST_LARGE


@small
def large_pfn(obj: int) -> int:
    """The first page frame of a large block."""
    return _FIRST_LARGE - obj


@small
def large_object(pfn: int) -> int:
    """The number of a large block."""
    return _FIRST_LARGE - pfn


@small
def ksize(m: Machine, sl: Slub, obj: int) -> int:
    """How many bytes an object can really hold (kernel: ksize, with slab_ksize)."""
    if is_large(obj):
        return 1 << (int(m.pages[large_pfn(obj)].order) + int(m.params[0].page_shift))
    return int(sl.caches[int(sl.slabs[slab_of(sl, obj)].cache)].object_size)


@small
def kmalloc_begin(m: Machine, sl: Slub, ac: int, size: int, cache: int, gfp: int) -> bool:
    """Start to allocate `size` > 0 bytes from a cache, or LARGE; is a lock wanted? (kernel: kmalloc)

    When it is done, `sl.contexts[ac].obj` is the object, or NO_OBJECT.
    """
    sl.contexts[ac].realloc_size = 0
    return allocate(m, sl, ac, size, cache, gfp)


@small
def allocate(m: Machine, sl: Slub, ac: int, size: int, cache: int, gfp: int) -> bool:
    """Start the allocation itself."""
    if cache != LARGE:
        return slab_alloc_begin(m, sl, ac, cache, gfp)
    return alloc_large(m, sl, ac, size, gfp)


@core
def alloc_large(m: Machine, sl: Slub, ac: int, size: int, gfp: int) -> bool:
    """Ask the page allocator (kernel: ___kmalloc_large_node)."""
    context = sl.contexts[ac]
    order = size_order(m, size)
    if order > m.params[0].max_page_order:
        context.obj = NO_OBJECT
        m.contexts[ac].failure = NOPAGE  # the kernel warns, and counts nothing
        return False
    if alloc_begin(m, ac, gfp | GFP_COMP, order):
        context.stage = ALLOC_LARGE
        context.lock = int(m.contexts[ac].zone)
        return True
    return large_allocated(m, sl, ac)


@small
def large_allocated(m: Machine, sl: Slub, ac: int) -> bool:
    """The page allocator has answered."""
    after_lock(m, ac)
    context = sl.contexts[ac]
    context.stage = DONE
    pfn = int(m.contexts[ac].pfn)
    context.obj = NO_OBJECT if pfn == NO_PAGE else large_object(pfn)
    return False


@small
def kfree_begin(m: Machine, sl: Slub, ac: int, obj: int) -> bool:
    """Start to free what kmalloc returned, which may be NO_OBJECT; is a lock wanted? (kernel: kfree)"""
    sl.contexts[ac].realloc_size = 0
    return release(m, sl, ac, obj)


@small
def release(m: Machine, sl: Slub, ac: int, obj: int) -> bool:
    """Start the free itself."""
    if obj == NO_OBJECT:
        return False
    return free_large(m, sl, ac, large_pfn(obj)) if is_large(obj) else slab_free_begin(m, sl, ac, obj)


@core
def free_large(m: Machine, sl: Slub, ac: int, pfn: int) -> bool:
    """Give a large block back (kernel: free_large_kmalloc)."""
    if free_begin(m, ac, pfn, int(m.pages[pfn].order)):
        sl.contexts[ac].stage = FREE_LARGE
        sl.contexts[ac].lock = int(m.contexts[ac].zone)
        return True
    after_lock(m, ac)
    return False


@core
def krealloc_begin(m: Machine, sl: Slub, ac: int, obj: int, size: int, cache: int, gfp: int) -> bool:
    """Start to change an object's size to `size` bytes, in place or by moving it; is a lock wanted? (kernel: krealloc)

    `cache` is what kmalloc would take for the new size. When it is done, `sl.contexts[ac].obj` is the
    object; NO_OBJECT where `size` is 0, which frees it, or where there is no memory, which leaves it.
    """
    context = sl.contexts[ac]
    context.realloc_size = 0
    if size == 0:
        wanted = release(m, sl, ac, obj)
        context.obj = NO_OBJECT
        return wanted
    if obj != NO_OBJECT and ksize(m, sl, obj) >= size:
        context.obj = obj
        return False
    context.realloc_size = size
    context.realloc_from = obj
    return True if allocate(m, sl, ac, size, cache, gfp) else moved(m, sl, ac)


@core
def moved(m: Machine, sl: Slub, ac: int) -> bool:
    """The new object is there: copy what the old one holds, and free that."""
    context = sl.contexts[ac]
    context.realloc_size = 0
    context.stage = DONE
    old = int(context.realloc_from)
    if context.obj == NO_OBJECT or old == NO_OBJECT:
        return False
    sl.work[0].bytes_copied += ksize(m, sl, old)
    return release(m, sl, ac, old)


@core
def kmalloc_locked(m: Machine, sl: Slub, ac: int) -> bool:
    """Run the critical section that kmalloc, kfree or krealloc waits for; is another lock wanted?"""
    context = sl.contexts[ac]
    stage = int(context.stage)
    if stage == OBJECT_MOVED:
        return moved(m, sl, ac)
    if stage == LARGE_ALLOCATED:
        wanted = large_allocated(m, sl, ac)
    elif stage not in (ALLOC_LARGE, FREE_LARGE):
        wanted = slab_locked(m, sl, ac)
    elif locked(m, ac):
        context.lock = int(m.contexts[ac].zone)
        wanted = True
    else:
        context.lock = NO_LOCK
        context.stage = LARGE_ALLOCATED if stage == ALLOC_LARGE else DONE
        wanted = stage == ALLOC_LARGE
    if wanted or context.realloc_size == 0:
        return wanted
    context.stage = OBJECT_MOVED
    context.lock = NO_LOCK
    return True


