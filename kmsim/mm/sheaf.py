"""Sheaves: where CPUs keep free objects in arrays, and nodes keep arrays in barns (kernel: mm/slub.c since 6.18).

An allocation takes the last object of the CPU's main sheaf, a free adds one: no lock but the CPU's own, no exchange.
All else is a request made of steps, which `mm.slub` runs as those of cpu slabs:
    main is empty   the spare one if it has objects; the barn's full sheaf that was put last, for the empty one; else an
                    empty sheaf (the spare one, the barn's, a new one) is filled from slabs (`mm.sheaf_refill`)
    main is full    the spare one if it has room; the barn's empty sheaf that was put last, for the full one; with
                    MAX_FULL_SHEAVES full ones there the spare one is flushed to its slabs (`mm.sheaf_flush`); else a
                    new sheaf, and the full one into the barn
Objects of another node, and of slabs from the reserves, go straight to their slabs; caches without sheaves, and
interrupts that find the CPU's sheaves in use, go to the slabs, too.

A prefilled sheaf (`start_prefill`) is a user's own, from which `alloc_from_sheaf` takes; `start_return` gives it back.

Leaves out rcu_free sheaves, prefilled ones from the reserves, the memory of sheaves, debugging. Invariant: between two
steps a CPU's sheaves are `locked` while a request that keeps them waits. Lock order: a CPU's local lock, then the
barn's; list_lock under neither.
"""

from kmsim.jit import core, only_with, small
from kmsim.mm.indices import CacheIdx, ContextIdx, Gfp, ObjectIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_barn import (
    barn_index,
    cpu_sheaves_index,
    make_sheaf,
    want_barn_lock,
)
from kmsim.mm.sheaf_flush import drop_sheaf, flush_next, free_to_slab, free_under_lock, start_flush
from kmsim.mm.sheaf_objects import GFP_REFILL, hand_out, lay_in
from kmsim.mm.sheaf_records import IN_SHEAF, MAX_FULL_SHEAVES, NO_SHEAF
from kmsim.mm.sheaf_refill import (
    add_new,
    alloc_from_new_slab,
    more_objects,
    return_freelist,
    return_slabs,
    start_refill,
    take_freelists,
    take_one,
    take_slabs,
    want_to_return_slabs,
)
from kmsim.mm.sheaf_steps import (
    fill,
    find_empty,
    flush_and_drop,
    install_empty,
    install_filled,
    make_empty,
    one_object,
    one_object_done,
    prefill,
    put_in_main,
    refill_to,
    replace_empty_main,
    replace_full_main,
    take_from_main,
    under_barn_lock,
)
from kmsim.mm.slub_free import slab_of, start_slow_free
from kmsim.mm.slub_init import init_objects, wipe_objects
from kmsim.mm.slub_lines import touch_freed_slowly
from kmsim.mm.slub_partial import slab_nid
from kmsim.mm.slub_records import IN_USE, NO_OBJECT, SLAB_PFMEMALLOC, Slub, cpu_slab_index
from kmsim.mm.slub_steps import (
    FREE_TO_SLAB,
    LOCKED_ADD_NEW,
    LOCKED_BARN_ANY,
    LOCKED_BARN_FULL,
    LOCKED_BARN_RETURN,
    LOCKED_FREE,
    LOCKED_RETURN_FREELIST,
    LOCKED_RETURN_SLABS,
    LOCKED_TAKE_ONE,
    LOCKED_TAKE_SLABS,
    NO_STEP,
    OP_ALLOC,
    OP_FREE,
    OP_PREFILL,
    OP_RETURN,
    OUT_OF_MEMORY,
    RETRY_LOAD_SLAB,
    SHEAF_ALLOC,
    SHEAF_FILL,
    SHEAF_FILLED,
    SHEAF_FLUSH,
    SHEAF_FLUSH_NEXT,
    SHEAF_FREE,
    SHEAF_FREELISTS,
    SHEAF_GOT_EMPTY,
    SHEAF_MAKE_EMPTY,
    SHEAF_MORE,
    SHEAF_NO_FULL,
    SHEAF_ONE,
    SHEAF_ONE_DONE,
    SHEAF_PREFILL,
    SHEAF_PREFILLED,
    SHEAF_REFILL,
    SHEAF_RETURNED,
    SHEAF_SLABS_LEFT,
    SHEAF_TAKE,
    SLUB_DONE,
)

# ---- verbs


@only_with("sheaves", NO_STEP, inlined=True)
def sheaf_alloc(sl: Slub, m: Machine, ac: ContextIdx, cache: CacheIdx, gfp: Gfp) -> int:
    """Allocate an object; SLUB_DONE, or the step to go on with (kernel: slab_alloc_node, alloc_from_pcs)."""
    of_cpu = sl.sheaves.cpus[cpu_slab_index(sl, cache, int(m.contexts[ac].cpu))]
    if not of_cpu.locked and int(of_cpu.main) != NO_SHEAF:
        record = sl.sheaves.sheaves[int(of_cpu.main)]
        nr_objects = int(record.nr_objects)
        if nr_objects > 0:
            record.nr_objects = nr_objects - 1
            of_cpu.alloc_fastpath += 1
            sl.contexts[ac].obj = hand_out(m, sl, ac, int(sl.sheaves.objects[int(record.first) + nr_objects - 1]))
            init_objects(m, sl, cache, gfp, 1)
            return SLUB_DONE
    return start_sheaf_alloc(sl, ac, cache, gfp)


@core
def start_sheaf_alloc(sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp) -> int:
    """Start an allocation that finds nothing in the CPU's main sheaf."""
    context = sl.contexts[ac]
    context.cache = cache
    context.gfp = context.asked_gfp = gfp
    context.operation = OP_ALLOC
    context.sheaf = NO_SHEAF
    context.obj = NO_OBJECT
    sl.caches[cache].alloc_slowpath += 1
    sl.work[0].alloc_slow += 1
    return SHEAF_ALLOC


@only_with("sheaves", NO_STEP, inlined=True)
def sheaf_free(sl: Slub, m: Machine, ac: ContextIdx, obj: ObjectIdx) -> int:
    """Free an object; SLUB_DONE, or the step to go on with (kernel: slab_free, free_to_pcs)."""
    slab = slab_of(sl, obj)
    cache = int(sl.slabs[slab].cache)
    link = int(sl.links[obj])
    assert link >= IN_USE, "double free"
    assert link & IN_SHEAF == 0, "double free"
    wipe_objects(m, sl, cache, 1)
    cpu = int(m.contexts[ac].cpu)
    of_cpu = sl.sheaves.cpus[cpu_slab_index(sl, cache, cpu)]
    if not of_cpu.locked and int(of_cpu.main) != NO_SHEAF and can_free_to_sheaf(m, sl, slab, cpu):
        record = sl.sheaves.sheaves[int(of_cpu.main)]
        nr_objects = int(record.nr_objects)
        if nr_objects < int(record.capacity):
            lay_in(m, sl, ac, int(of_cpu.main), obj)
            of_cpu.free_fastpath += 1
            return SLUB_DONE
        return start_sheaf_free(sl, ac, cache, obj)
    return start_free_to_slab(m, sl, ac, slab, obj)


@small
def can_free_to_sheaf(m: Machine, sl: Slub, slab: int, cpu: int) -> bool:
    """Is the object of the CPU's node, and not from the reserves? (kernel: can_free_to_pcs)"""
    if int(sl.slabs[slab].slab_flags) & SLAB_PFMEMALLOC:
        return False
    return slab_nid(m, sl, slab) == int(m.cpus[cpu].node)


@core
def start_sheaf_free(sl: Slub, ac: ContextIdx, cache: CacheIdx, obj: ObjectIdx) -> int:
    """Start a free that finds the CPU's main sheaf full."""
    context = sl.contexts[ac]
    context.cache = cache
    context.operation = OP_FREE
    context.obj = obj
    context.sheaf = NO_SHEAF
    sl.work[0].free_slow += 1
    return SHEAF_FREE


@core
def start_free_to_slab(m: Machine, sl: Slub, ac: ContextIdx, slab: int, obj: ObjectIdx) -> int:
    """Start to free an object straight to its slab (kernel: __slab_free)."""
    context = sl.contexts[ac]
    context.operation = OP_FREE
    context.then = SLUB_DONE
    context.nr_freed = 1
    touch_freed_slowly(m, sl, slab, int(m.contexts[ac].cpu), int(sl.links[obj]) - IN_USE)
    start_slow_free(sl, ac, slab, obj, obj)
    return FREE_TO_SLAB


@only_with("sheaves", SLUB_DONE)
def start_prefill(sl: Slub, m: Machine, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, nr_objects: int) -> int:
    """Start to get a sheaf of one's own with so many objects or more; the step to go on with.

    (kernel: kmem_cache_prefill_sheaf)
    """
    context = sl.contexts[ac]
    context.cache = cache
    context.gfp = gfp
    context.operation = OP_PREFILL
    context.sheaf = NO_SHEAF
    of_cache = sl.sheaves.caches[cache]
    if nr_objects > of_cache.capacity:
        of_cache.sheaf_prefill_oversize += 1
        context.sheaf = make_sheaf(sl, cache, nr_objects)
        return refill_to(sl, ac, nr_objects, SHEAF_PREFILLED)
    context.nr_wanted = nr_objects
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    if int(of_cpu.spare) != NO_SHEAF:
        context.sheaf = int(of_cpu.spare)
        of_cpu.spare = NO_SHEAF
        of_cache.sheaf_prefill_fast += 1
        return SHEAF_PREFILL
    of_cache.sheaf_prefill_slow += 1
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    if int(barn.nr_full) + int(barn.nr_empty) > 0:
        return want_barn_lock(m, sl, ac, LOCKED_BARN_ANY, True)
    of_cache.barn_get_fail += 1
    return SHEAF_PREFILL


@core
def alloc_from_sheaf(m: Machine, sl: Slub, ac: ContextIdx, sheaf: int, gfp: Gfp) -> int:
    """An object of a prefilled sheaf, or NO_OBJECT where that is empty (kernel: kmem_cache_alloc_from_sheaf)."""
    record = sl.sheaves.sheaves[sheaf]
    nr_objects = int(record.nr_objects)
    if nr_objects == 0:
        return NO_OBJECT
    record.nr_objects = nr_objects - 1
    obj = hand_out(m, sl, ac, int(sl.sheaves.objects[int(record.first) + nr_objects - 1]))
    init_objects(m, sl, int(sl.slabs[slab_of(sl, obj)].cache), gfp, 1)
    return obj


@only_with("sheaves", SLUB_DONE)
def start_return(sl: Slub, m: Machine, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, sheaf: int) -> int:
    """Start to give a prefilled sheaf back; the step to go on with (kernel: kmem_cache_return_sheaf)."""
    context = sl.contexts[ac]
    context.cache = cache
    context.gfp = gfp | GFP_REFILL
    context.operation = OP_RETURN
    context.sheaf = sheaf
    of_cache = sl.sheaves.caches[cache]
    if int(sl.sheaves.sheaves[sheaf].capacity) != of_cache.capacity:
        return flush_and_drop(sl, ac)
    of_cpu = sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)]
    if int(of_cpu.spare) == NO_SHEAF:
        of_cpu.spare = sheaf
        context.sheaf = NO_SHEAF
        of_cache.sheaf_return_fast += 1
        return SLUB_DONE
    of_cache.sheaf_return_slow += 1
    if int(sl.sheaves.barns[barn_index(m, sl, ac)].nr_full) >= MAX_FULL_SHEAVES:
        return flush_and_drop(sl, ac)
    return refill_to(sl, ac, int(of_cache.capacity), SHEAF_RETURNED)


# ---- steps


@only_with("sheaves", NO_STEP)
def step_with_sheaves(sl: Slub, m: Machine, ac: ContextIdx, step: int) -> int:
    """Take a step that is another with sheaves, or that there is with them alone, none under a lock; or NO_STEP."""
    if step == RETRY_LOAD_SLAB:
        return alloc_from_new_slab(m, sl, ac)
    if step == OUT_OF_MEMORY:
        return int(sl.contexts[ac].sheaf_then)
    if step == FREE_TO_SLAB:
        return free_to_slab(m, sl, ac)
    if step < SHEAF_ALLOC or step > SHEAF_RETURNED:
        return NO_STEP
    if step < SHEAF_REFILL:
        return step_of_request(m, sl, ac, step)
    if step < SHEAF_PREFILL:
        return step_of_slabs(m, sl, ac, step)
    return step_of_prefilled(m, sl, ac, step)


@small
def step_of_request(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """One step of an allocation or a free."""
    if step == SHEAF_ALLOC:
        return replace_empty_main(m, sl, ac)
    if step == SHEAF_NO_FULL:
        return find_empty(m, sl, ac)
    if step == SHEAF_FILL:
        return fill(sl, ac)
    if step == SHEAF_FILLED:
        return install_filled(m, sl, ac)
    if step == SHEAF_TAKE:
        return take_from_main(m, sl, ac)
    if step == SHEAF_ONE:
        return one_object(sl, ac)
    if step == SHEAF_ONE_DONE:
        return one_object_done(m, sl, ac)
    if step == SHEAF_FREE:
        return replace_full_main(m, sl, ac)
    if step == SHEAF_MAKE_EMPTY:
        return make_empty(m, sl, ac)
    if step == SHEAF_GOT_EMPTY:
        return install_empty(m, sl, ac)
    return put_in_main(m, sl, ac)


@small
def step_of_slabs(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """One step of what fills sheaves, and empties them."""
    if step == SHEAF_REFILL:
        return start_refill(m, sl, ac)
    if step == SHEAF_FREELISTS:
        return take_freelists(m, sl, ac)
    if step == SHEAF_SLABS_LEFT:
        return want_to_return_slabs(m, sl, ac)
    if step == SHEAF_MORE:
        return more_objects(sl, ac)
    if step == SHEAF_FLUSH:
        return start_flush(sl, ac)
    if step == SHEAF_FLUSH_NEXT:
        return flush_next(m, sl, ac)
    drop_sheaf(sl, ac)
    return SHEAF_ONE if sl.contexts[ac].operation == OP_ALLOC else SLUB_DONE


@small
def step_of_prefilled(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """One step of a prefilled sheaf."""
    context = sl.contexts[ac]
    if step == SHEAF_PREFILL:
        return prefill(sl, ac)
    if context.nr_refilled < context.nr_wanted:
        return flush_and_drop(sl, ac)
    sl.sheaves.caches[int(context.cache)].sheaf_refill += int(context.nr_refilled)
    return SLUB_DONE if step == SHEAF_PREFILLED else want_barn_lock(m, sl, ac, LOCKED_BARN_RETURN, False)


@only_with("sheaves", NO_STEP)
def locked_with_sheaves(sl: Slub, m: Machine, ac: ContextIdx, stage: int) -> int:
    """What is done under a lock where that is another with sheaves, or there is with them alone; or NO_STEP."""
    if stage == LOCKED_FREE:
        return free_under_lock(m, sl, ac)
    if stage == LOCKED_TAKE_SLABS:
        return take_slabs(m, sl, ac)
    if stage == LOCKED_TAKE_ONE:
        return take_one(m, sl, ac)
    if stage == LOCKED_RETURN_FREELIST:
        return return_freelist(m, sl, ac)
    if stage == LOCKED_RETURN_SLABS:
        return return_slabs(m, sl, ac)
    if stage == LOCKED_ADD_NEW:
        return add_new(m, sl, ac)
    if LOCKED_BARN_FULL <= stage <= LOCKED_BARN_RETURN:
        return under_barn_lock(m, sl, ac, stage)
    return NO_STEP
