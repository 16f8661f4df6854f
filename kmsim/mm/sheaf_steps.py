"""The steps by which a CPU replaces its main sheaf, and what is done under a barn's lock (kernel: mm/slub.c).

What the kernel's functions do between two locks is one step each (`mm.sheaf` has the ladder). A request that waits for
a barn's lock keeps the CPU's sheaves; one that fills or flushes a sheaf does not, and may find others when it comes
back.

Leaves out what `mm.sheaf` leaves out. Invariant: a context's `sheaf` is on no list and no CPU's. Lock order: see there.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_barn import (
    barn_index,
    cpu_sheaves_index,
    get_empty,
    get_full,
    make_sheaf,
    put_empty,
    put_full,
    want_barn_lock,
)
from kmsim.mm.sheaf_objects import GFP_REFILL, hand_out, lay_in, nr_of
from kmsim.mm.sheaf_records import MAX_FULL_SHEAVES, NO_SHEAF
from kmsim.mm.slub_init import init_objects
from kmsim.mm.slub_records import Slub
from kmsim.mm.slub_steps import (
    LOCKED_BARN_ANY,
    LOCKED_BARN_EMPTY,
    LOCKED_BARN_FREE_EMPTY,
    LOCKED_BARN_FREE_FULL,
    LOCKED_BARN_FULL,
    LOCKED_BARN_PUT_EMPTY,
    LOCKED_BARN_PUT_FULL,
    OP_FREE,
    OP_RETURN,
    SHEAF_DROP,
    SHEAF_FILL,
    SHEAF_FILLED,
    SHEAF_FLUSH,
    SHEAF_GOT_EMPTY,
    SHEAF_MAKE_EMPTY,
    SHEAF_NO_FULL,
    SHEAF_ONE,
    SHEAF_ONE_DONE,
    SHEAF_PREFILL,
    SHEAF_PREFILLED,
    SHEAF_PUT,
    SHEAF_REFILL,
    SHEAF_TAKE,
    SLUB_DONE,
)

# ---- main is empty


@small
def replace_empty_main(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Look for objects in the spare sheaf, then in the barn (kernel: __pcs_replace_empty_main)."""
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    if of_cpu.locked or int(of_cpu.main) == NO_SHEAF:
        return SHEAF_ONE
    spare = int(of_cpu.spare)
    if spare != NO_SHEAF and nr_of(sl, spare) > 0:
        of_cpu.spare = int(of_cpu.main)
        of_cpu.main = spare
        return SHEAF_TAKE
    if int(sl.sheaves.barns[barn_index(m, sl, ac)].nr_full):
        return want_barn_lock(m, sl, ac, LOCKED_BARN_FULL, True)
    return SHEAF_NO_FULL


@small
def find_empty(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The barn has no full sheaf: find an empty one to fill."""
    context = sl.contexts[ac]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    sl.sheaves.caches[int(context.cache)].barn_get_fail += 1
    if int(of_cpu.spare) != NO_SHEAF:
        context.sheaf = int(of_cpu.spare)
        of_cpu.spare = NO_SHEAF
    elif int(sl.sheaves.barns[barn_index(m, sl, ac)].nr_empty):
        return want_barn_lock(m, sl, ac, LOCKED_BARN_EMPTY, True)
    of_cpu.locked = 0
    return SHEAF_FILL


@small
def fill(sl: Slub, ac: ContextIdx) -> int:
    """Fill the empty sheaf, or a new one, from slabs (kernel: refill_sheaf)."""
    context = sl.contexts[ac]
    capacity = int(sl.sheaves.caches[int(context.cache)].capacity)
    if context.sheaf == NO_SHEAF:
        context.sheaf = make_sheaf(sl, int(context.cache), capacity)
    context.gfp = int(context.asked_gfp) | GFP_REFILL
    return refill_to(sl, ac, capacity, SHEAF_FILLED)


@small
def refill_to(sl: Slub, ac: ContextIdx, nr_objects: int, then: int) -> int:
    """Fill the context's sheaf up to so many objects, and go on with `then`."""
    context = sl.contexts[ac]
    context.nr_wanted = nr_objects - nr_of(sl, int(context.sheaf))
    context.nr_refilled = 0
    context.sheaf_then = then
    return SHEAF_REFILL if context.nr_wanted > 0 else then


@small
def install_filled(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The sheaf is filled, or there was no memory: make it the main one."""
    context = sl.contexts[ac]
    of_cache = sl.sheaves.caches[int(context.cache)]
    of_cache.sheaf_refill += int(context.nr_refilled)
    if context.nr_refilled < context.nr_wanted:
        return flush_and_drop(sl, ac)
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    assert not of_cpu.locked, "a request goes on where one of a higher level keeps the CPU's sheaves"
    filled = int(context.sheaf)
    context.sheaf = NO_SHEAF
    spare = int(of_cpu.spare)
    if nr_of(sl, int(of_cpu.main)) == 0:
        if spare == NO_SHEAF:
            of_cpu.spare = int(of_cpu.main)
        else:
            context.sheaf = int(of_cpu.main)
        of_cpu.main = filled
    elif spare == NO_SHEAF:
        of_cpu.spare = filled
    elif nr_of(sl, spare) == 0:
        context.sheaf = spare
        of_cpu.spare = filled
    else:
        context.sheaf = filled
        return want_barn_lock(m, sl, ac, LOCKED_BARN_PUT_FULL, True)
    return SHEAF_TAKE if context.sheaf == NO_SHEAF else want_barn_lock(m, sl, ac, LOCKED_BARN_PUT_EMPTY, True)


@small
def take_from_main(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take the last object of the main sheaf, and let go of the CPU's sheaves."""
    context = sl.contexts[ac]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    of_cpu.locked = 0
    record = sl.sheaves.sheaves[int(of_cpu.main)]
    nr_objects = int(record.nr_objects)
    assert nr_objects > 0, "a main sheaf was replaced by an empty one"
    record.nr_objects = nr_objects - 1
    of_cpu.alloc_fastpath += 1
    context.obj = hand_out(m, sl, ac, int(sl.sheaves.objects[int(record.first) + nr_objects - 1]))
    init_objects(m, sl, int(context.cache), int(context.asked_gfp), 1)
    return SLUB_DONE


@small
def one_object(sl: Slub, ac: ContextIdx) -> int:
    """There is nothing to be had of sheaves: take one object from a slab (kernel: ___slab_alloc)."""
    context = sl.contexts[ac]
    context.gfp = context.asked_gfp
    context.nr_wanted = 1
    context.nr_refilled = 0
    context.sheaf_then = SHEAF_ONE_DONE
    return SHEAF_REFILL


@small
def one_object_done(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The object has come, or there was no memory."""
    context = sl.contexts[ac]
    if context.nr_refilled:
        init_objects(m, sl, int(context.cache), int(context.gfp), 1)
    return SLUB_DONE


# ---- main is full


@small
def replace_full_main(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Look for room in the spare sheaf, then for an empty sheaf in the barn (kernel: __pcs_replace_full_main)."""
    context = sl.contexts[ac]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    of_cache = sl.sheaves.caches[int(context.cache)]
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    spare = int(of_cpu.spare)
    context.put_fail = 0
    if spare == NO_SHEAF:
        return want_barn_lock(m, sl, ac, LOCKED_BARN_FREE_EMPTY, True) if int(barn.nr_empty) else SHEAF_MAKE_EMPTY
    if nr_of(sl, spare) < of_cache.capacity:
        of_cpu.spare = int(of_cpu.main)
        of_cpu.main = spare
        return SHEAF_PUT
    if int(barn.nr_full) >= MAX_FULL_SHEAVES:
        of_cache.barn_put_fail += 1
        of_cpu.spare = NO_SHEAF
        context.sheaf = spare
        context.sheaf_then = SHEAF_GOT_EMPTY
        return SHEAF_FLUSH
    if int(barn.nr_empty):
        return want_barn_lock(m, sl, ac, LOCKED_BARN_FREE_FULL, True)
    return SHEAF_MAKE_EMPTY


@small
def make_empty(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Nobody has an empty sheaf: make one (kernel: alloc_empty_sheaf)."""
    context = sl.contexts[ac]
    cache = int(context.cache)
    sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)].locked = 0
    context.sheaf = make_sheaf(sl, cache, int(sl.sheaves.caches[cache].capacity))
    return SHEAF_GOT_EMPTY


@small
def install_empty(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Make the empty sheaf the main one, unless there is room by now (kernel: __pcs_install_empty_sheaf)."""
    context = sl.contexts[ac]
    of_cache = sl.sheaves.caches[int(context.cache)]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    assert not of_cpu.locked, "a request goes on where one of a higher level keeps the CPU's sheaves"
    empty, main, spare = int(context.sheaf), int(of_cpu.main), int(of_cpu.spare)
    if spare == NO_SHEAF:
        of_cpu.spare = main
        of_cpu.main = empty
        context.sheaf = NO_SHEAF
        return SHEAF_PUT
    if nr_of(sl, main) == of_cache.capacity:
        if nr_of(sl, spare) == of_cache.capacity:
            context.sheaf = main
            of_cpu.main = empty
            return want_barn_lock(m, sl, ac, LOCKED_BARN_PUT_FULL, True)
        of_cpu.main = spare
        of_cpu.spare = main
    return want_barn_lock(m, sl, ac, LOCKED_BARN_PUT_EMPTY, True)


@small
def put_in_main(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Add the object that is freed to the main sheaf, and let go of the CPU's sheaves."""
    context = sl.contexts[ac]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    of_cpu.locked = 0
    of_cpu.free_fastpath += 1
    lay_in(m, sl, ac, int(of_cpu.main), int(context.obj))
    return SLUB_DONE


# ---- prefilled ones, and flushing


@small
def prefill(sl: Slub, ac: ContextIdx) -> int:
    """There is a sheaf, or one is made: fill it, if it has too few objects."""
    context = sl.contexts[ac]
    cache = int(context.cache)
    capacity = int(sl.sheaves.caches[cache].capacity)
    nr_asked = int(context.nr_wanted)
    if context.sheaf == NO_SHEAF:
        context.sheaf = make_sheaf(sl, cache, capacity)
    if nr_of(sl, int(context.sheaf)) >= nr_asked:
        context.nr_wanted = context.nr_refilled = 0
        return SLUB_DONE
    context.gfp = int(context.gfp) | GFP_REFILL
    return refill_to(sl, ac, capacity, SHEAF_PREFILLED)


@small
def flush_and_drop(sl: Slub, ac: ContextIdx) -> int:
    """Flush the context's sheaf, and free it."""
    sl.contexts[ac].sheaf_then = SHEAF_DROP
    return SHEAF_FLUSH


# ---- under a barn's lock


@small
def take_any(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take a full sheaf, or an empty one (kernel: barn_get_full_or_empty_sheaf)."""
    context = sl.contexts[ac]
    of_cache = sl.sheaves.caches[int(context.cache)]
    sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)].locked = 0
    context.sheaf = get_full(m, sl, ac)
    if context.sheaf == NO_SHEAF:
        context.sheaf = get_empty(m, sl, ac)
        of_cache.barn_get_fail += 1
    else:
        of_cache.barn_get += 1
    return SHEAF_PREFILL


@core
def under_barn_lock(m: Machine, sl: Slub, ac: ContextIdx, stage: int) -> int:
    """What is done under a barn's lock; the step that follows."""
    context = sl.contexts[ac]
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    of_cache = sl.sheaves.caches[int(context.cache)]
    sheaf = int(context.sheaf)
    if stage == LOCKED_BARN_FULL:
        full = get_full(m, sl, ac)
        if full == NO_SHEAF:
            return SHEAF_NO_FULL
        of_cache.barn_get += 1
        put_empty(m, sl, ac, int(of_cpu.main))
        of_cpu.main = full
        return SHEAF_TAKE
    if stage == LOCKED_BARN_EMPTY:
        context.sheaf = get_empty(m, sl, ac)
        of_cpu.locked = 0
        return SHEAF_FILL
    if stage == LOCKED_BARN_FREE_EMPTY:
        empty = get_empty(m, sl, ac)
        if empty == NO_SHEAF:
            return SHEAF_MAKE_EMPTY
        of_cpu.spare = int(of_cpu.main)
        of_cpu.main = empty
        return SHEAF_PUT
    if stage == LOCKED_BARN_FREE_FULL:
        empty = get_empty(m, sl, ac)
        if empty == NO_SHEAF:
            return SHEAF_MAKE_EMPTY
        of_cache.barn_put += 1
        put_full(m, sl, ac, int(of_cpu.main))
        of_cpu.main = empty
        return SHEAF_PUT
    if stage == LOCKED_BARN_ANY:
        return take_any(m, sl, ac)
    context.sheaf = NO_SHEAF
    if stage == LOCKED_BARN_PUT_EMPTY:
        put_empty(m, sl, ac, sheaf)
    else:
        put_full(m, sl, ac, sheaf)
        of_cache.barn_put += 1
    if context.operation == OP_RETURN:
        return SLUB_DONE
    return SHEAF_PUT if context.operation == OP_FREE else SHEAF_TAKE
