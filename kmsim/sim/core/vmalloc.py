"""The stages of vmalloc, vmap and kvmalloc: what each does in `mm`, and what it costs.

A request of these goes through slabs, pages and locks of its own. Those are spinlocks taken with
interrupts on (`sim.core.spinlock`) and one mutex, that of the purge, whose waiters sleep (`sim.core.sleep`). A
purge flushes all TLBs: on x86 it interrupts every CPU and waits for all, on arm64 it broadcasts. What
is done lazily is done by the CPUs' kworkers.

Leaves out: helpers of a purge on other CPUs (their work is the purge's own). Lock order: as `mm.locks` has it; a
spinlock is never held while anything else is asked for.
"""

from kmsim.jit import only_with, prefetch
from kmsim.mm.indices import AreaIdx, ContextIdx, CpuIdx
from kmsim.mm.kvmalloc import kvmalloc_begin
from kmsim.mm.locks import LOCK_IRQSAVE, LOCK_MUTEX, VMAP_PURGE_LOCK
from kmsim.mm.mmzone import NOPAGE
from kmsim.mm.slub_records import NO_CACHE
from kmsim.mm.vm_frame import own_lock
from kmsim.mm.vm_records import (
    KV_FAILED,
    KV_PAGES,
    KV_SLAB,
    KV_VMALLOC,
    TLB_FLUSH,
    UNLOCK_PURGE,
    VM_ALLOW_HUGE_VMAP,
)
from kmsim.mm.vmalloc import (
    deferred_vfree_begin,
    fetch_ahead,
    vfree_atomic_begin,
    vfree_begin,
    vm_locked,
    vm_purge_begin,
    vmalloc_begin,
)
from kmsim.sim.core.costs import cache_lines_ps, instructions_ps, vm_instructions_ps
from kmsim.sim.core.detail import kv_detail, kv_order, kv_outcome
from kmsim.sim.core.pages import begin_pages, hold_lock_for, hold_pcp, is_bulk, no_work
from kmsim.sim.core.rare import begin_rare, is_rare, rare_block, rare_detail, rare_locked, rare_path
from kmsim.sim.core.records import (
    COMPLETE,
    NEVER,
    NO_BLOCK,
    NOBODY,
    VM_GO,
    VM_LOCK,
    Core,
    cpu_of,
    csd_lock_of,
    flusher_of,
    is_flusher,
    is_zones,
    kworker_of,
    level_of,
)
from kmsim.sim.core.slab import begin_slab, no_slab_work, slab_price
from kmsim.sim.core.sleep import lock_mutex, unlock_mutex
from kmsim.sim.core.spinlock import count_wait, leave, request, spin, stop_spinning
from kmsim.sim.core.stage import no_parts, set_next_event, set_stage
from kmsim.sim.core.wake import refresh_wake, wake_changed
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import KVMALLOC, THREAD, VMALLOC
from kmsim.workload.request import KVREALLOC, VMAP

FLUSH, WORK = -1, -2  # what flushers and kworkers do; streams have no such kinds


@only_with("vm")
def begin_vm(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    s.m.contexts[ac].failure = NOPAGE  # unless a request for pages says otherwise
    if is_rare(s, ac):
        no_vm_work(s)
        path = rare_path(s, ac)
        wanted = begin_rare(s, ac)
        end_stage(s, c, ac, path, wanted)
        return
    if run.kind == ALLOC:
        request = s.requests[run.request]
        no_vm_work(s)
        if request.api == KVMALLOC:
            path = s.prices[0].slab_alloc_fast if request.cache != NO_CACHE else s.prices[0].alloc_fast
            wanted = kvmalloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.nr_bytes, request.gfp)
        else:
            path = 0
            vm_flags = VM_ALLOW_HUGE_VMAP if request.huge else 0
            wanted = vmalloc_begin(s.m, s.slub, s.vm, ac, run.nr_bytes, request.gfp, vm_flags)
        end_stage(s, c, ac, path, wanted)
        return
    outcome = kv_outcome(run.detail)
    if outcome == KV_SLAB:
        begin_slab(s, c, ac, run.block)
    elif outcome == KV_PAGES:
        begin_pages(s, c, ac, run.block, kv_order(run.detail))
    else:
        no_vm_work(s)
        if s.cpus[c].level == THREAD:
            wanted = vfree_begin(s.m, s.slub, s.vm, ac, run.block)
        else:
            wanted = vfree_atomic_begin(s.m, s.vm, ac, run.block)
        end_stage(s, c, ac, 0, wanted)


@only_with("vm")
def look_ahead_vm(s: Core, area: AreaIdx, cursor: int) -> None:
    """Fetch what a free of this area will need, and the area that the operation behind it may free."""
    if s.vm is not None:  # in plain Python all functions are there
        if 0 <= area < len(s.vm.areas):
            fetch_ahead(s.m, s.slub, s.vm, area)
        prefetch(s.vm.areas, int(s.slots[s.ops[cursor].handle].block))


@only_with("vm")
def no_vm_work(s: Core) -> None:
    """A new stage: nothing done yet."""
    no_work(s)
    no_slab_work(s)
    work = s.vm.work[0]
    work.areas_new = 0
    work.areas_gone = 0
    work.tree_steps = 0
    work.areas_moved = 0
    work.ptes_set = 0
    work.ptes_cleared = 0
    work.tables_new = 0
    work.pages_taken = 0


@only_with("vm", 0)
def price(s: Core, ac: ContextIdx) -> int:
    """The instructions of what was done; SLUB's part is forgotten, so that no later stage is charged with it again."""
    return instructions_ps(s) + slab_price(s, ac) + vm_instructions_ps(s)


@only_with("vm")
def end_stage(s: Core, c: CpuIdx, ac: ContextIdx, path: int, wanted: bool) -> None:
    """A stage without a lock: what it costs beside its path, and what comes after."""
    set_stage(s, c, ac, path + price(s, ac), cache_lines_ps(s, False))
    then(s, c, ac, wanted)


@only_with("vm")
def then(s: Core, c: CpuIdx, ac: ContextIdx, wanted: bool) -> None:
    """What the run does when its stage ends; and the kworker of this CPU is woken for what was scheduled."""
    run = s.runs[ac]
    run.then = VM_LOCK if wanted else COMPLETE
    lock = s.vm.contexts[ac].lock
    if wanted and is_zones(s, lock) and is_bulk(s.m.contexts[ac].stage):
        hold_pcp(s, c, ac)
    if s.vm.params[0].drain_scheduled or s.vm.cpus[c].vfree_scheduled:
        wake_kworker(s, c)


@only_with("vm")
def lock_vm(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage under what the request wants: a lock, a flush, or nothing."""
    lock = int(s.vm.contexts[ac].lock)
    if lock == TLB_FLUSH:
        flush(s, c, ac)
    elif lock < 0:
        if lock == UNLOCK_PURGE:
            unlock_mutex(s, own_lock(s.vm, VMAP_PURGE_LOCK))
        go_vm(s, c, ac)
    elif s.locks[lock].kind == LOCK_IRQSAVE:
        in_bulk = is_zones(s, lock) and is_bulk(s.m.contexts[ac].stage)
        wanted = advance_vm(s, ac)
        hold_lock_for(s, c, ac, lock, s.prices[0].lock_hold + price(s, ac) + cache_lines_ps(s, in_bulk))
        then(s, c, ac, wanted)
    elif s.locks[lock].kind == LOCK_MUTEX:
        if lock_mutex(s, c, ac, lock):
            go_vm(s, c, ac)
    elif request(s, c, ac, lock):
        taking = s.prices[0].lock_uncontended
        if s.locks[lock].holder != c:
            taking += s.prices[0].line_other
        hold_spinlock(s, c, ac, taking, 0)


@only_with("vm")
def go_vm(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Go on without a lock."""
    wanted = advance_vm(s, ac)
    end_stage(s, c, ac, 0, wanted)


@only_with("vm", False)
def advance_vm(s: Core, ac: ContextIdx) -> bool:
    """Let `mm` do the next thing; does it want a lock then?"""
    no_vm_work(s)
    return rare_locked(s, ac) if is_rare(s, ac) else vm_locked(s.m, s.slub, s.vm, ac)


@only_with("vm")
def hold_spinlock(s: Core, c: CpuIdx, ac: ContextIdx, taking: int, wait: int) -> None:
    """Hold a spinlock, interrupts on; where something else runs on the CPU now, its time begins after that."""
    run = s.runs[ac]
    lock = s.locks[run.lock]
    now = s.state[0].now
    wanted = advance_vm(s, ac)
    hold = s.prices[0].lock_hold + price(s, ac) + cache_lines_ps(s, False)
    spun = run.lock_wait_ps if wait else 0
    no_parts(s, ac)
    run.instructions_ps = taking
    run.lock_wait_ps = spun + wait
    run.lock_hold_ps = hold
    lock.holder = c
    lock.since = now + taking + wait
    run.left_ps = taking + wait + hold
    if s.cpus[c].level == level_of(s, ac):
        run.end_ps = now + run.left_ps
        set_next_event(s, c, ac)
    then(s, c, ac, wanted)


@only_with("vm")
def leave_spinlock(s: Core, ac: ContextIdx) -> None:
    """Let go of the spinlock that the run holds; the next one in its queue is granted it."""
    heir = leave(s, ac)
    if heir != NOBODY:
        c = cpu_of(s, heir)
        if s.cpus[c].level == level_of(s, heir):
            stop_spinning(s, heir)
        hold_spinlock(s, c, heir, 0, s.prices[0].lock_handover)


@only_with("vm")
def flush(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Flush all CPUs' TLBs (kernel: flush_tlb_kernel_range); one flush after the other.

    The wait for the others is counted as that for a lock (kernel: csd_lock_wait).
    """
    state = s.state[0]
    if not state.interrupts_flush or state.nr_cpus == 1:
        set_stage(s, c, ac, s.prices[0].tlb_flush, 0)
        s.runs[ac].then = VM_GO
        return
    s.runs[ac].next_waiter = NOBODY
    s.runs[ac].since = state.now
    if state.flushing == NOBODY:
        interrupt_others(s, ac)
    else:
        last = int(state.flushing)
        while s.runs[last].next_waiter != NOBODY:
            last = int(s.runs[last].next_waiter)
        s.runs[last].next_waiter = ac
    spin(s, c, ac)


@only_with("vm")
def interrupt_others(s: Core, ac: ContextIdx) -> None:
    """Let every CPU but the run's own flush its TLB, as soon as it lets interrupts in."""
    state = s.state[0]
    state.flushing = ac
    state.nr_to_flush = state.nr_cpus - 1
    for d in range(state.nr_cpus):
        if d != cpu_of(s, ac):
            flusher = flusher_of(s, d)
            s.tasks[flusher].wake_at = state.now
            wake_changed(s, flusher)


@only_with("vm")
def flushed(s: Core) -> None:
    """One more CPU has flushed its TLB: when all have, the one that asked goes on."""
    state = s.state[0]
    state.nr_to_flush -= 1
    if state.nr_to_flush:
        return
    ac = int(state.flushing)
    c = cpu_of(s, ac)
    run = s.runs[ac]
    n = csd_lock_of(s)
    s.locks[n].acquisitions += 1
    count_wait(s, n, state.now - run.since)
    state.flushing = NOBODY
    if run.next_waiter != NOBODY:
        interrupt_others(s, int(run.next_waiter))
    run.then = VM_GO
    if s.cpus[c].level == level_of(s, ac):
        stop_spinning(s, ac)
        run.end_ps = state.now + s.prices[0].tlb_flush
        set_next_event(s, c, ac)
    run.left_ps = s.prices[0].tlb_flush
    run.instructions_ps = s.prices[0].tlb_flush


@only_with("vm")
def wake_kworker(s: Core, c: CpuIdx) -> None:
    """Wake this CPU's kworker for what was scheduled here."""
    if s.vm.params[0].drain_scheduled and s.state[0].purger == NOBODY:
        s.state[0].purger = c
    kworker = kworker_of(s, c)
    task = s.tasks[kworker]
    if has_work(s, c) and not task.running and task.wake_at == NEVER:
        task.wake_at = s.state[0].now
        wake_changed(s, kworker)


@only_with("vm", False)
def has_work(s: Core, c: CpuIdx) -> bool:
    """Is anything scheduled on this CPU?"""
    return bool(s.state[0].purger == c or s.vm.cpus[c].vfree_scheduled)


@only_with("vm")
def begin_work(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A kworker or a flusher begins what it was woken for."""
    run = s.runs[ac]
    run.request = 0
    if is_flusher(s, run.task):
        run.kind = FLUSH
        run.then = COMPLETE
        set_stage(s, c, ac, s.prices[0].tlb_flush, 0)
        return
    no_vm_work(s)
    run.kind = WORK
    if s.vm.cpus[c].vfree_scheduled:
        wanted = deferred_vfree_begin(s.m, s.slub, s.vm, ac, c)
    else:
        assert s.state[0].purger == c, "a kworker was woken for nothing"
        s.state[0].purger = NOBODY
        wanted = vm_purge_begin(s.m, s.slub, s.vm, ac)
    end_stage(s, c, ac, 0, wanted)


@only_with("vm")
def work_done(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A worker has done its work: it sleeps, unless there is more."""
    run = s.runs[ac]
    task = s.tasks[run.task]
    task.wake_at = NEVER
    if run.kind == FLUSH:
        flushed(s)
    elif has_work(s, c):
        task.wake_at = s.state[0].now
    refresh_wake(s, c, task.level)


@only_with("vm", NO_BLOCK)
def block_got(s: Core, ac: ContextIdx) -> int:
    """The allocation handle: an area, an object or a pfn; NO_BLOCK where it has failed."""
    if is_rare(s, ac) and s.requests[s.runs[ac].request].api != KVREALLOC:
        return rare_block(s, ac)
    context = s.vm.contexts[ac]
    outcome = kv_outcome(block_detail(s, ac))
    if outcome == KV_FAILED:
        return NO_BLOCK
    if outcome == KV_SLAB:
        return int(context.obj)
    return int(context.pfn if outcome == KV_PAGES else context.area)


@only_with("vm", 0)
def block_detail(s: Core, ac: ContextIdx) -> int:
    """What its free needs beside that (see `sim.core.detail`)."""
    context = s.vm.contexts[ac]
    api = s.requests[s.runs[ac].request].api
    if api in (VMALLOC, VMAP):
        return kv_detail(KV_VMALLOC, 0)
    if is_rare(s, ac) and api != KVREALLOC:
        return rare_detail(s, ac)
    return kv_detail(int(context.outcome), int(context.order) if context.outcome == KV_PAGES else 0)
