"""SLUB's operations as Python calls them: cut at each lock, or whole on a machine where every lock is free.

`cpu` is the CPU that runs it, and its context; `ac` a context. All verbs are one compiled entry: each entry that
holds the slab and page allocators takes long to compile.
"""

from kmsim.jit import core, entry
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

(
    ALLOC,
    FREE,
    ALLOC_BULK,
    FREE_BULK,
    SHRINK,
    DESTROY,
    NOTHING,
    GO_ON,
    FINISH,
    KMALLOC,
    KREALLOC,
    KFREE,
) = range(12)

What = tuple[int, int, int, int, int]


@core
def begin_slab(m: Machine, sl: Slub, ac: int, operation: int, what: What) -> int:
    """Start an operation on a cache or an object; what does it want?"""
    if operation == ALLOC:
        return slab_alloc_begin(m, sl, ac, what[0], what[1])
    if operation == FREE:
        return slab_free_begin(m, sl, ac, what[0])
    if operation == ALLOC_BULK:
        return slab_alloc_bulk_begin(m, sl, ac, what[0], what[1], what[2])
    if operation == FREE_BULK:
        return slab_free_bulk_begin(m, sl, ac, what[2])
    if operation == SHRINK:
        return slab_shrink_begin(m, sl, ac, what[0])
    assert operation == DESTROY
    return slab_destroy_begin(m, sl, ac, what[0])


@core
def run_kmalloc(m: Machine, sl: Slub, ac: int, verb: int, what: What) -> None:
    """A whole kmalloc, krealloc or kfree."""
    if verb == KMALLOC:
        wanted = kmalloc_begin(m, sl, ac, what[0], what[1], what[2])
    elif verb == KREALLOC:
        wanted = krealloc_begin(m, sl, ac, Memory(what[3], what[4]), what[0], what[1], what[2])
    else:
        assert verb == KFREE
        wanted = kfree_begin(m, sl, ac, Memory(what[0], what[1]))
    while wanted:
        wanted = kmalloc_resume(m, sl, ac)


@entry
def run(m: Machine, sl: Slub, ac: int, verb: int, what: What) -> int:
    """Start an operation, grant what it wants, or run it to its end; what does it want then?"""
    if verb == GO_ON:
        return slab_resume(m, sl, ac)
    if verb == FINISH:
        while slab_resume(m, sl, ac):
            pass
        return 0
    if verb in (KMALLOC, KREALLOC, KFREE):
        run_kmalloc(m, sl, ac, verb, what)
        return 0
    return begin_slab(m, sl, ac, verb, what)


def _run(m: Machine, sl: Slub, ac: int, verb: int, *what: int) -> int:
    """`run` with as many numbers as the verb has."""
    one, two, three, four, five = (*map(int, what), 0, 0, 0, 0, 0)[:5]
    return int(run(m, sl, int(ac), int(verb), (one, two, three, four, five)))


def begin(m: Machine, sl: Slub, ac: int, operation: int, one: int, gfp: int, nr_objects: int) -> int:
    """Start an operation on cache or object `one`; what does it want?"""
    return _run(m, sl, ac, operation, one, gfp, nr_objects)


def locked(m: Machine, sl: Slub, ac: int) -> int:
    """Grant what the context wants; what does it want now?"""
    return _run(m, sl, ac, GO_ON)


def finish(m: Machine, sl: Slub, ac: int, wanted: int) -> int:
    """Grant everything; the context's object."""
    if wanted:
        _run(m, sl, ac, FINISH)
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


def kmalloc(m: Machine, sl: Slub, ac: int, size: int, cache: int, gfp: int) -> None:
    """A whole kmalloc; `given` says what it gives."""
    _run(m, sl, ac, KMALLOC, size, cache, gfp)


def krealloc(m: Machine, sl: Slub, ac: int, old: tuple[int, int], size: int, cache: int, gfp: int) -> None:
    """A whole krealloc; `given` says what it gives."""
    _run(m, sl, ac, KREALLOC, size, cache, gfp, *old)


def given(sl: Slub, ac: int) -> Memory:
    """What a kmalloc or krealloc has given."""
    return Memory(int(sl.contexts[ac].obj), int(sl.contexts[ac].large_pfn))


def kfree(m: Machine, sl: Slub, ac: int, obj: int, large_pfn: int) -> None:
    """Free what kmalloc has given."""
    _run(m, sl, ac, KFREE, obj, large_pfn)


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
