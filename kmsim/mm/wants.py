"""What a request wants next: the one protocol between the allocators and who runs them.

A request is begun by a verb `..._begin` and carried on by the one beside it (`resume`, `slab_resume`, `vm_resume` ...).
Each returns what the request wants, and does not touch any state between two of its calls:
    DONE        nothing: it is over
    GO_ON       to go on with no spinlock held; what it has done until then takes its time first
    LOCK        the spinlock `contexts[ac].lock` of the machine, held while the next call runs
    TRY_LOCK    a try at the lock of its CPU's page lists of `contexts[ac].zone` (kernel: pcp_spin_trylock); the next
                call follows in the same instant and reads the answer, `contexts[ac].tried` (`mm.pcp_held.answer_try`)
    MUTEX       the mutex `contexts[ac].mutex`, held until UNLOCK names it
    UNLOCK      to let go of that mutex
    FLUSH       every CPU to have flushed its TLB (kernel: flush_tlb_kernel_range)
    SLEEP       to sleep until it is woken, or until `contexts[ac].wake_at`; below 0: for so many jiffies
    SLOW_PATH   the rest of __alloc_pages_slowpath. On a machine that reclaims, `mm.slow_path` goes it; elsewhere
                failure answers it, in the stage in which it is wanted; a lock that this stage holds is held on
Who runs it grants that, and calls the second verb.

The lock of a per-CPU list is a LOCK for a drain of all lists alone, which wants that of the list `contexts[ac].pcp`;
all others try it. Where each decision is to be taken by itself (`params.stepwise`), each of these tries is wanted;
elsewhere a request that sees that nobody holds the list goes on with it in one piece (`goes_on_at_once`), and
wants a try where somebody does. A try that nobody answers was in vain. A list that was used is held until the stage is
over, of which `mm` knows nothing. Who runs requests on a clock therefore calls, of `mm.pcp_held`:
    hold_if_used        after the verb that begins a request for a block of pages (`hold_pcp`: for a page at hand)
    hold_while_waiting  after each verb, with what it wants
    let_go              when a stage is over, with what is wanted next

A request may sleep between two calls, whatever it wants; but not while it holds a per-CPU list (`held_pcp`), nor while
it waits for the lru_lock with a full batch of its CPU's folios (`mm.filemap`): the kernel has preemption off there.

A request within a request (pages for a slab, a slab for an area) hands on what the inner one wants. Leaves out how a
want is granted and what it costs (`kmsim.sim`); a machine on which every lock is free grants all at once. Invariant:
when LOCK was granted, `contexts[ac].lock` is held until the verb returns. Takes no lock itself.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, LockIdx
from kmsim.mm.mmzone import NO_LOCK, Machine

DONE, GO_ON, LOCK, MUTEX, UNLOCK, FLUSH, SLEEP, SLOW_PATH, TRY_LOCK = range(9)
NR_WANTS = TRY_LOCK + 1

NOT_TRIED, GOT, REFUSED = range(3)  # the answer to a try


@small
def want_lock(m: Machine, ac: ContextIdx, lock: LockIdx) -> int:
    """The request wants a spinlock."""
    m.contexts[ac].lock = lock
    return LOCK


@small
def want_to_try(m: Machine, ac: ContextIdx, stage: int) -> int:
    """The request wants a try at the lock of its CPU's lists of its zone; `stage` is what it does with the answer."""
    m.contexts[ac].stage = stage
    return TRY_LOCK


@small
def has_got(m: Machine, ac: ContextIdx) -> bool:
    """Was its try successful?"""
    tried = m.contexts[ac].tried
    m.contexts[ac].tried = NOT_TRIED
    return bool(tried == GOT)


@small
def want_to_sleep(m: Machine, ac: ContextIdx, until: int) -> int:
    """The request wants to sleep until it is woken, or until `until`; what it waits for has not come about yet.

    It looks for that in the same call: a wake between this and its sleep is not lost (see `sim.core.sleep`), one
    before is.
    """
    m.contexts[ac].wake_at = until
    return SLEEP


@small
def want_to_nap(m: Machine, ac: ContextIdx, nr_jiffies: int) -> int:
    """The request wants to sleep for so long, and nobody will wake it (kernel: schedule_timeout_uninterruptible)."""
    m.contexts[ac].lock = NO_LOCK
    m.contexts[ac].wake_at = -nr_jiffies
    return SLEEP


@small
def want_to_go_on(m: Machine, ac: ContextIdx) -> int:
    """The request goes on without the spinlock that it has held."""
    m.contexts[ac].lock = NO_LOCK
    return GO_ON
