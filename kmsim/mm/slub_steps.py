"""The steps of SLUB's requests: what a request does next, and what it waits for.

`mm.slub` runs a request step by step; each step returns the next one, SLUB_DONE, or SLUB_WAIT where
it wants something (`wants`): then the context's `stage` is the step that runs once that is granted. State is changed
only in steps, never between them.

Leaves out everything else: the steps are in the other `slub` modules. Invariant: SLUB_WAIT and SLUB_DONE are no steps'
numbers. Takes no lock.
"""

NO_STEP = -2  # of a function that says what a step is with sheaves: it is as without
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
    # With sheaves (see `mm.sheaf`).
    SHEAF_ALLOC,
    SHEAF_NO_FULL,
    SHEAF_FILL,
    SHEAF_FILLED,
    SHEAF_TAKE,
    SHEAF_ONE,
    SHEAF_ONE_DONE,
    SHEAF_FREE,
    SHEAF_MAKE_EMPTY,
    SHEAF_GOT_EMPTY,
    SHEAF_PUT,
    SHEAF_REFILL,
    SHEAF_FREELISTS,
    SHEAF_SLABS_LEFT,
    SHEAF_MORE,
    SHEAF_FLUSH,
    SHEAF_FLUSH_NEXT,
    SHEAF_DROP,
    SHEAF_PREFILL,
    SHEAF_PREFILLED,
    SHEAF_RETURNED,
    # Steps under the cache's list_lock.
    LOCKED_GET_PARTIAL,
    LOCKED_ADD_PARTIAL,
    LOCKED_PUT_PARTIALS,
    LOCKED_FREE,
    LOCKED_SHRINK,
    LOCKED_DESTROY,
    LOCKED_TAKE_SLABS,
    LOCKED_TAKE_ONE,
    LOCKED_RETURN_FREELIST,
    LOCKED_RETURN_SLABS,
    LOCKED_ADD_NEW,
    # Steps under a barn's lock.
    LOCKED_BARN_FULL,
    LOCKED_BARN_EMPTY,
    LOCKED_BARN_PUT_EMPTY,
    LOCKED_BARN_PUT_FULL,
    LOCKED_BARN_FREE_EMPTY,
    LOCKED_BARN_FREE_FULL,
    LOCKED_BARN_ANY,
    LOCKED_BARN_RETURN,
    # A request for pages, or the free of some, is under way in the page allocator.
    PAGES_WANTED,
    PAGES_FREED,
    ALLOC_LARGE,  # these four for mm.kmalloc
    FREE_LARGE,
    LARGE_ALLOCATED,
    OBJECT_MOVED,
) = range(1, 65)
FIRST_LOCKED = LOCKED_GET_PARTIAL

# What the request is.
OP_ALLOC, OP_FREE, OP_ALLOC_BULK, OP_FREE_BULK, OP_SHRINK, OP_DESTROY, OP_PREFILL, OP_RETURN = range(8)
