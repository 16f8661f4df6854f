"""SLUB's operations as Python calls them: cut at each lock, or whole on a machine where every lock is free.

`cpu` is the CPU that runs it, and its context; `ac` a context.
"""

from kmsim.jit import entry
from kmsim.mm.kmalloc import Memory, kfree_begin, kmalloc_begin, kmalloc_resume, krealloc_begin, ksize
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf import alloc_from_sheaf
from kmsim.mm.slub import (
    prefill_begin,
    return_begin,
    slab_alloc_begin,
    slab_alloc_bulk_begin,
    slab_destroy_begin,
    slab_free_begin,
    slab_free_bulk_begin,
    slab_resume,
    slab_shrink_begin,
)
from kmsim.mm.slub_object import address_of, free_problem, slab_owner
from kmsim.mm.slub_records import Slub
from kmsim.mm.slub_recount import validate_slub

ALLOC, FREE, ALLOC_BULK, FREE_BULK, SHRINK, DESTROY, NOTHING = range(7)


@entry
def begin(m: Machine, sl: Slub, ac: int, operation: int, one: int, gfp: int, nr_objects: int) -> int:
    """Start an operation on cache or object `one`; what does it want?"""
    if operation == ALLOC:
        return slab_alloc_begin(m, sl, ac, one, gfp)
    if operation == FREE:
        return slab_free_begin(m, sl, ac, one)
    if operation == ALLOC_BULK:
        return slab_alloc_bulk_begin(m, sl, ac, one, gfp, nr_objects)
    if operation == FREE_BULK:
        return slab_free_bulk_begin(m, sl, ac, nr_objects)
    if operation == SHRINK:
        return slab_shrink_begin(m, sl, ac, one)
    assert operation == DESTROY
    return slab_destroy_begin(m, sl, ac, one)


@entry
def locked(m: Machine, sl: Slub, ac: int) -> int:
    """Grant what the context wants; what does it want now?"""
    return slab_resume(m, sl, ac)


@entry
def finish(m: Machine, sl: Slub, ac: int, wanted: int) -> int:
    """Grant everything; the context's object."""
    while wanted:
        wanted = slab_resume(m, sl, ac)
    return int(sl.contexts[ac].obj)


@entry
def address(m: Machine, sl: Slub, obj: int) -> int:
    """An object's address."""
    return address_of(m, sl, obj)


@entry
def problem(sl: Slub, obj: int, cache: int) -> int:
    """Why an object must not be freed."""
    return free_problem(sl, obj, cache)


@entry
def owner(sl: Slub, obj: int) -> int:
    """An object's cache."""
    return slab_owner(sl, obj)


@entry
def recount(m: Machine, sl: Slub) -> None:
    """Recount the slab allocator; AssertionError where two records disagree."""
    validate_slub(m, sl, sl.contexts[:0])


@entry
def kmalloc(m: Machine, sl: Slub, ac: int, size: int, cache: int, gfp: int) -> None:
    """A whole kmalloc; `given` says what it gives."""
    wanted = kmalloc_begin(m, sl, ac, size, cache, gfp)
    while wanted:
        wanted = kmalloc_resume(m, sl, ac)


@entry
def krealloc(m: Machine, sl: Slub, ac: int, old: tuple[int, int], size: int, cache: int, gfp: int) -> None:
    """A whole krealloc; `given` says what it gives."""
    wanted = krealloc_begin(m, sl, ac, Memory(old[0], old[1]), size, cache, gfp)
    while wanted:
        wanted = kmalloc_resume(m, sl, ac)


def given(sl: Slub, ac: int) -> Memory:
    """What a kmalloc or krealloc has given."""
    return Memory(int(sl.contexts[ac].obj), int(sl.contexts[ac].large_pfn))


@entry
def kfree(m: Machine, sl: Slub, ac: int, obj: int, large_pfn: int) -> None:
    """Free what kmalloc has given."""
    wanted = kfree_begin(m, sl, ac, Memory(obj, large_pfn))
    while wanted:
        wanted = kmalloc_resume(m, sl, ac)


@entry
def size_of(m: Machine, sl: Slub, obj: int, large_pfn: int) -> int:
    """How many bytes can really be used."""
    return ksize(m, sl, Memory(obj, large_pfn))


@entry
def prefill(m: Machine, sl: Slub, ac: int, cache: int, gfp: int, nr_objects: int) -> int:
    """A whole request for a sheaf of one's own, or NO_SHEAF."""
    wanted = prefill_begin(m, sl, ac, cache, gfp, nr_objects)
    while wanted:
        wanted = slab_resume(m, sl, ac)
    return int(sl.contexts[ac].sheaf)


@entry
def take_from(m: Machine, sl: Slub, ac: int, sheaf: int, gfp: int) -> int:
    """An object of such a sheaf, or NO_OBJECT."""
    return alloc_from_sheaf(m, sl, ac, sheaf, gfp)


@entry
def return_sheaf(m: Machine, sl: Slub, ac: int, cache: int, gfp: int, sheaf: int) -> None:
    """Give such a sheaf back."""
    wanted = return_begin(m, sl, ac, cache, gfp, sheaf)
    while wanted:
        wanted = slab_resume(m, sl, ac)
