"""The steps of SLUB's requests: what a request does next, and what it waits for.

`mm.slub` runs a request step by step; each step returns the next one, SLUB_DONE, or SLUB_WAIT where
it wants something (`wants`): then the context's `stage` is the step that runs once that is granted. State is changed
only in steps, never between them.

Leaves out everything else: the steps are in the other `slub` modules. Invariant: SLUB_WAIT and SLUB_DONE are no steps'
numbers. Takes no lock.
"""

SLUB_WAIT = -1
SLUB_DONE = 0

(
    # Steps that hold no lock. The names of those that are labels in ___slab_alloc are the kernel's.
    REREAD_SLAB,
    NEW_SLAB,  # the CPU's partial list
    NEW_OBJECTS,  # the node's list
    ALLOC_SLAB,  # the page allocator
    ALLOC_SLAB_PAGES,
    PAGES_ALLOCATED,
    RETRY_LOAD_SLAB,
    LOAD_FREELIST,
    OUT_OF_MEMORY,
    DEACTIVATE,
    PUT_PARTIALS,
    DISCARD,
    ALLOC_NEXT_OF_BULK,
    FREE_NEXT_OF_BULK,
    FREE_TO_SLAB,
    FLUSH_CPU,
    FLUSH_PARTIALS,
    FLUSHED,
    # Steps under the cache's list_lock.
    LOCKED_GET_PARTIAL,
    LOCKED_ADD_PARTIAL,
    LOCKED_PUT_PARTIALS,
    LOCKED_FREE,
    LOCKED_SHRINK,
    LOCKED_DESTROY,
    # A request for pages, or the free of some, is under way in the page allocator.
    PAGES_WANTED,
    PAGES_FREED,
    ALLOC_LARGE,  # these four for mm.kmalloc
    FREE_LARGE,
    LARGE_ALLOCATED,
    OBJECT_MOVED,
) = range(1, 31)
FIRST_LOCKED = LOCKED_GET_PARTIAL

# What the request is.
OP_ALLOC, OP_FREE, OP_ALLOC_BULK, OP_FREE_BULK, OP_SHRINK, OP_DESTROY = range(6)
