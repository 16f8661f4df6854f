"""The records of the event core: what CPUs, tasks and locks are doing, beside the `Machine` of `mm`.

Words, here and in all of `sim`:
    task     a kernel thread, softirq or irq source: it has a stream of operations and runs on a CPU
    level    THREAD < SOFTIRQ < IRQ: a task preempts those of lower levels on its CPU
    run      one operation under way: a CPU has one for each level, the lower ones suspended
    stage    a stretch of a run in which nothing is decided; it ends at `end_ps`, and then `then` is done
    slot     where a block is remembered until it is freed: by its stream, which names the slot, by a user's process,
             or, where it is freed at a given time, by the task that frees it
    due      the time of such a block, in the heap of that task
    holder   the slot of a block, as its page names it (see `sim.core.slot`)
    block    an allocation handle: a pfn, an object or a vmalloc area, as its request says
    worker   a kworker or a CPU's flusher: a task of the kernel's own, which does work that others schedule
    want     what a run wants when its stage ends (see `mm.wants`); `sim.core.grant` grants it

All times are whole picoseconds. A `Core` is handed to compiled functions as one value; nothing in it is reallocated
while they run. Invariant: `cpus[c].time` is the next instant at which something happens on CPU c; the tree agrees.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record, shared
from kmsim.metrics.histogram import NR_BUCKETS
from kmsim.mm.indices import ContextIdx, CpuIdx, Level, LockIdx, ZoneIdx
from kmsim.mm.locks import LOCK_CLASSES, PCP_LOCK, Lock, all_locks, csd_lock, first_of_class, pcp_lock
from kmsim.mm.lru_records import number_locks
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_records import Slub
from kmsim.mm.vm_records import Vm
from kmsim.mm.wants import NR_WANTS
from kmsim.sim.core.parked import Parked, new_parked
from kmsim.sim.core.single_records import Singles
from kmsim.sim.core.tree_shape import tree_shape
from kmsim.workload.op_stream import op_t
from kmsim.workload.plan import IRQ, Request

CPU_BITS = 8
NEVER = (1 << (62 - CPU_BITS)) - 1  # 5 hours: `time << CPU_BITS | cpu` must fit into an int64
NR_LEVELS = IRQ + 1
OPS_READ_AHEAD = 2  # operations behind the last one that may be read
IDLE = -1
NOBODY = -1
NOT_WAITING = -1  # no time
NO_BLOCK = -1  # as mm's NO_PAGE, NO_OBJECT and NO_AREA
NOT_FILLED = (1 << 16) - 1  # the request of a slot whose allocation has not come out yet
NR_KINDS = 2  # of operations that are counted: ALLOC and FREE

# What a run does when its stage ends, beside what it may want; WAITING is for others, and ends only by them.
START, BEGIN_WORK, UNPARK, WAITING = range(NR_WANTS, NR_WANTS + 4)

# By whose verbs a run goes on (see `sim.core.verbs`).
OF_PAGES, OF_LISTS, OF_SLAB, OF_KMALLOC, OF_VM, OF_DRAIN, OF_FLUSH, OF_FILE = range(8)

# What a task does: its stream of operations, or a worker's work (see `sim.core.worker`).
STREAM, KWORKER, FLUSHER = range(3)
WORK = -1  # the kind of a worker's run; streams have no such kind

# Why the event core handed control back; all but HORIZON may come together.
HORIZON, BLOCK_DONE, CHECK_DUE, PANICKED = 0, 1, 2, 4

# The columns of `totals`; BYTES are those asked for, TO_VMALLOC counts kvmallocs that left the slab for vmalloc.
COUNT, SUM_PS, MAX_PS, FAILED, NEEDED_SLOW_PATH, BYTES, TO_VMALLOC, NR_TOTALS = range(8)
# The columns of `reclaimed`: requests that reclaimed themselves, and what they did.
HAS_RECLAIMED, PASSES, RETRIES, PAGES_SCANNED, PAGES_RECLAIMED, NR_RECLAIM_TOTALS = range(6)

cpu_t = np.dtype(
    (
        Record,
        [
            ("time", np.int64),
            ("level", np.int64),  # what runs, or IDLE
            ("interruptible", np.int64),
            ("busy", np.int64, (NR_LEVELS,)),  # is an operation of each level under way?
            ("wake", np.int64, (NR_LEVELS,)),  # when the first task of each level wants to run
            ("unpinned_wake", np.int64),  # when the first sleeping thread wakes that another CPU may run
            ("first_task", np.int64, (NR_LEVELS,)),  # of a circular list by `task_t.next_task`
            ("last_thread", np.int64),
            ("kworker", np.int64),  # its task, or NOBODY
            ("flusher", np.int64),
            ("slice_end", np.int64),
            ("idle_since", np.int64),
            ("instructions_ps", np.int64),
            ("cache_lines_ps", np.int64),
            ("lock_wait_ps", np.int64),
            ("lock_hold_ps", np.int64),
            ("switch_ps", np.int64),
            ("interrupt_ps", np.int64),
            ("idle_ps", np.int64),
        ],
    )
)
run_t = np.dtype(
    (
        Record,
        [
            ("task", np.int64),
            ("kind", np.int64),
            ("request", np.int64),
            ("slot", np.int64),  # in `slots`: where its block is to be, or was; NO_SLOT
            ("block", np.int64),  # what it frees
            ("detail", np.int64),
            ("asked", np.int64),  # as `op_t.asked`
            ("lifetime_ps", np.int64),
            ("from_stream", np.int64),
            ("start_ps", np.int64),
            ("end_ps", np.int64),
            ("left_ps", np.int64),  # of the stage, while a higher level runs
            ("then", np.int64),  # what it wants, or START and the like
            ("verbs", np.int64),  # by which it goes on
            ("lock", np.int64),  # the lock with interrupts on that it holds or waits for
            ("since", np.int64),  # when it began to wait for a lock; NOT_WAITING: a drain that does not
            ("spun_from", np.int64),  # when it began to spin, or to spin on
            ("next_waiter", np.int64),  # the run behind it in the lock's queue
            ("instructions_ps", np.int64),  # what the stage consists of
            ("cache_lines_ps", np.int64),
            ("lock_wait_ps", np.int64),
            ("lock_hold_ps", np.int64),
        ],
    )
)
task_t = np.dtype(
    (
        Record,
        [
            ("cpu", np.int64),
            ("level", np.int64),
            ("does", np.int64),  # STREAM, or what a worker does
            ("pinned", np.int64),
            ("mempolicy", np.int64),  # of a thread, in `Machine.mempolicies`; 0: none
            ("asleep", np.int64),  # an unpinned thread that has not been given a CPU since it last ran
            ("running", np.int64),  # within an operation
            ("parked", np.int64),  # it sleeps, or has slept, within an operation, which lies in `parked`
            ("begins", np.int64),  # what a run of it does first
            ("is_open", np.int64),
            ("next_task", np.int64),
            ("wake_at", np.int64),  # when it wants to run: the earlier of its next operation and its first due block
            ("next_at", np.int64),
            ("arrived", np.int64),  # when its last operation was due, where it is open
            ("until_ps", np.int64),
            ("first_op", np.int64),
            ("cursor", np.int64),
            ("end_op", np.int64),
            ("freed_by", np.int64),
            ("first_due", np.int64),
            ("nr_due", np.int64),
            ("nr_due_max", np.int64),
            ("nr_due_most", np.int64),  # that it has had at once
            ("nr_pushed", np.int64),  # that it has had in all
            ("nr_done", np.int64),
        ],
    )
)
# `detail` is what a free needs beside the request (see `sim.core.detail`).
slot_t = np.dtype((Record, [("block", np.int32), ("request", np.uint16), ("detail", np.uint16)]))
due_t = np.dtype(
    (
        Record,
        [
            ("key", np.int64),  # the time, and behind it the high bits of the sequence number (see `sim.core.due`)
            ("sequence", np.uint32),  # the low bits
            ("slot", np.int32),  # in `timed`, from the task's `first_due` on
        ],
    )
)
request_t = np.dtype((Record, [(name, np.int64) for name in Request._fields]))
lock_t = np.dtype(
    (
        Record,
        [
            ("free_at", np.int64),
            ("holder", np.int64),  # the CPU that took it last
            ("run", np.int64),  # who holds it, where interrupts are on; of a mutex, the task
            ("since", np.int64),  # when that began
            ("first_waiter", np.int64),
            ("last_waiter", np.int64),
            ("acquisitions", np.int64),
            ("contended", np.int64),
            ("wait_total", np.int64),
            ("wait_max", np.int64),
            ("hold_total", np.int64),
            ("hold_max", np.int64),
            ("lock_class", np.int64),  # in LOCK_CLASSES
            ("kind", np.int64),  # as it stands there
        ],
    )
)
state_t = np.dtype(
    (
        Record,
        [
            ("now", np.int64),
            ("nr_done", np.int64),
            ("stepwise", np.int64),  # 1: each decision is taken by itself, also where several could be in one piece
            ("check_at", np.int64),  # stop when so many operations are done
            ("stopped_task", np.int64),  # whose block is done
            ("nr_cpus", np.int64),
            ("nr_unpinned", np.int64),
            ("first_leaf", np.int64),  # of `tree` (see `sim.core.winner_tree`)
            ("first_pcp_lock", np.int64),  # the number of the first of the per-CPU lists' locks
            ("purger", np.int64),  # the CPU whose kworker is to purge
            ("flushing", np.int64),  # the run that waits until the TLBs are flushed
            ("nr_to_flush", np.int64),  # how many CPUs have not yet
            ("interrupts_flush", np.int64),  # x86 interrupts every CPU for it, arm64 broadcasts
            ("timeslice_ps", np.int64),
        ],
    )
)


class Core(NamedTuple):
    """Everything that the event core works on."""

    m: Machine
    cpus: NDArray[np.void]
    runs: NDArray[np.void]  # indexed by `context_of`, as are the contexts of `mm`
    tasks: NDArray[np.void]
    ops: NDArray[np.void]  # each task's current block, at its `first_op`
    slots: NDArray[np.void]  # of streams and of users' processes
    due: NDArray[np.void]  # each task's heap, at its `first_due`
    timed: NDArray[np.void]  # the slots of the blocks in `due`: as many, and at the same place
    requests: NDArray[np.void]
    locks: NDArray[np.void]  # by their numbers (see `mm.locks`)
    prices: NDArray[np.void]
    counts: NDArray[np.int64]  # [class_of(request, kind), cpu, bucket]
    totals: NDArray[np.int64]  # [class_of(request, kind), cpu, NR_TOTALS]
    tree: NDArray[np.int64]
    state: NDArray[np.void]
    parked: Parked
    # Each of these is None where no request needs it; then nothing that is marked as only with it is compiled.
    slub: Slub
    constructors: NDArray[np.int64]  # what each cache's constructor takes; there with `slub`
    vm: Vm  # there only with `slub`
    lists: NDArray[np.int64]  # of no length; there where exact or bulk pages are asked for, and with `vm`
    singles: Singles  # there where single operations are kept
    reclaimed: NDArray[np.int64]  # [class_of(request, kind), NR_RECLAIM_TOTALS]; there with `m.lru`


@shared
def context_of(s: Core, level: Level, c: CpuIdx) -> ContextIdx:
    """The context of what a level of a CPU does: the number of its run, and of its records in `mm`."""
    return int(level * s.state[0].nr_cpus + c)


@shared
def level_of(s: Core, ac: ContextIdx) -> Level:
    """The level of a context."""
    return int(ac // s.state[0].nr_cpus)


@shared
def cpu_of(s: Core, ac: ContextIdx) -> CpuIdx:
    """The CPU of a context."""
    return int(ac % s.state[0].nr_cpus)


@shared
def class_of(request: int, kind: int) -> int:
    """The class of operations by which results are told apart."""
    return NR_KINDS * request + kind


def kind_and_request(of_class: int) -> tuple[int, int]:
    """The kind and the request of a class."""
    return of_class % NR_KINDS, of_class // NR_KINDS


@shared
def pcp_lock_of(s: Core, z: ZoneIdx) -> LockIdx:
    """The number under which the locks of a zone's per-CPU lists are counted."""
    return pcp_lock(int(s.state[0].first_pcp_lock), z)


@shared
def csd_lock_of(s: Core) -> LockIdx:
    """The number under which waits for flushes of TLBs are counted."""
    return csd_lock(int(s.state[0].first_pcp_lock), len(s.m.zones))


def new_core(
    m: Machine,
    *,
    prices: NDArray[np.void],
    requests: Sequence[Request],
    nr_tasks: int,
    nr_ops: int,
    nr_slots: int,
    nr_due: int,
    timeslice_ps: int,
    slub: Slub | None = None,
    vm: Vm | None = None,
    constructors_ps: Sequence[int] = (),
    uses_lists: bool = False,
) -> Core:
    """A core whose CPUs are idle at picosecond 0, with no task on any of them."""
    nr_cpus = int(m.params[0].nr_cpus)
    assert nr_cpus <= 1 << CPU_BITS
    assert len(m.contexts) >= NR_LEVELS * nr_cpus
    nr_nodes, first_leaf = tree_shape(nr_cpus)
    locks = locks_of(m, slub, vm)
    core = Core(
        m=m,
        cpus=np.zeros(nr_cpus, cpu_t),
        runs=np.zeros(NR_LEVELS * nr_cpus, run_t),
        tasks=np.zeros(nr_tasks, task_t),
        ops=np.zeros(nr_ops + OPS_READ_AHEAD, op_t),
        slots=np.zeros(max(nr_slots, 1), slot_t),
        due=np.zeros(max(nr_due, 1), due_t),
        timed=np.zeros(max(nr_due, 1), slot_t),
        requests=np.zeros(len(requests), request_t),
        locks=_free_locks(locks),
        prices=prices,
        counts=np.zeros((NR_KINDS * len(requests), nr_cpus, NR_BUCKETS), np.int64),
        totals=np.zeros((NR_KINDS * len(requests), nr_cpus, NR_TOTALS), np.int64),
        tree=np.full(nr_nodes, NEVER << CPU_BITS, np.int64),
        state=np.zeros(1, state_t),
        parked=new_parked(m, slub, vm, np.zeros(nr_tasks, run_t)),
        **_parts(slub, vm, constructors_ps, uses_lists=uses_lists),
        reclaimed=_reclaimed(m, len(requests)),
    )
    for n, request in enumerate(requests):
        core.requests[n] = request
    _make_idle(core)
    core.state[0].nr_cpus = nr_cpus
    core.state[0].first_leaf = first_leaf
    core.state[0].timeslice_ps = timeslice_ps
    core.state[0].first_pcp_lock = first_of_class(locks, PCP_LOCK)
    if m.lru is not None:
        number_locks(m.lru, locks)
    return core


def _make_idle(core: Core) -> None:
    """Every CPU idle, and every slot of streams and users empty."""
    core.slots["block"] = NO_BLOCK
    core.cpus["time"] = core.cpus["wake"] = core.cpus["unpinned_wake"] = NEVER
    core.cpus["level"] = IDLE
    core.cpus["interruptible"] = 1
    for name in ("first_task", "last_thread", "kworker", "flusher"):
        core.cpus[name] = NOBODY
    core.tasks["pinned"] = 1
    core.tasks["begins"] = START
    core.tasks["wake_at"] = NEVER
    core.runs["lock"] = NOBODY
    core.state[0].check_at = NEVER
    core.state["flushing"] = core.state["purger"] = NOBODY


def locks_of(m: Machine, slub: Slub | None, vm: Vm | None) -> list[Lock]:
    """All locks of a core, in the order of their numbers."""
    nr_lists, nr_vmap_nodes = 0 if slub is None else len(slub.cache_nodes), 0 if vm is None else len(vm.nodes)
    return all_locks(len(m.zones), nr_lists, nr_vmap_nodes, 0 if m.lru is None else len(m.nodes))


def _free_locks(locks: Sequence[Lock]) -> NDArray[np.void]:
    """A record for each lock; nobody holds any."""
    records = np.zeros(len(locks), lock_t)
    records["lock_class"] = [lock.lock_class for lock in locks]
    records["kind"] = [LOCK_CLASSES[lock.lock_class].kind for lock in locks]
    for name in ("holder", "run", "first_waiter", "last_waiter"):
        records[name] = NOBODY
    return records


def _parts(slub: Slub | None, vm: Vm | None, constructors_ps: Sequence[int], *, uses_lists: bool) -> dict[str, Any]:
    """The parts that not every core has."""
    return {
        "slub": slub,
        "constructors": None if slub is None else np.array(constructors_ps, np.int64),
        "vm": vm,
        "lists": np.zeros(0, np.int64) if uses_lists else None,
        "singles": None,
    }


def _reclaimed(m: Machine, nr_requests: int) -> NDArray[np.int64]:
    """What each class of operations has reclaimed; None where nothing can be."""
    counts = np.zeros((NR_KINDS * nr_requests, NR_RECLAIM_TOTALS), np.int64)
    return counts if m.lru is not None else cast(NDArray[np.int64], None)
