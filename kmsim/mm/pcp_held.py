"""A request's hold of a per-CPU list's lock, from one stage of it to the end of another (kernel: pcp_spin_trylock).

A request that takes a block from its CPU's list, or puts one there, holds the list while that takes time. One that
refills or drains the list holds it while it waits for the zone's lock, too, and to the end of that critical section. An
interrupt in between finds the lock taken and goes to the zone.

Leaves out who grants the zone's lock, and when a stage ends: the caller says so with `let_go`. A machine on which every
lock is free holds lists only while it empties all of them. Invariant: a context holds one list at most, `held_pcp`.
Lock order: a list's lock, then its zone's.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, PcpIdx
from kmsim.mm.ladder import DRAIN_PCP, PAGES_DONE, PREP, REFILL
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import NO_PAGE, NO_PCP, Machine, pcp_index
from kmsim.mm.pcp import lock_pcp, pcp_trylock, unlock_pcp
from kmsim.mm.wants import GOT, LOCK, REFUSED, TRY_LOCK


@small
def answer_try(m: Machine, ac: ContextIdx, wants: int) -> None:
    """Answer a try at the lock of per-CPU lists, if that is what the request wants."""
    if wants == TRY_LOCK:
        context = m.contexts[ac]
        context.tried = GOT if pcp_trylock(m, ac, pcp_index(m, context.zone, context.cpu)) else REFUSED


@small
def moves_many(m: Machine, ac: ContextIdx) -> bool:
    """Does the request want the zone's lock to move many pages between a per-CPU list and the zone?"""
    return m.contexts[ac].stage in (REFILL, DRAIN_PCP)


@small
def hold_pcp(m: Machine, ac: ContextIdx, p: PcpIdx) -> None:
    """Take the lock of these lists, which nobody else holds, and let go of those that the context still holds."""
    context = m.contexts[ac]
    if context.held_pcp != NO_PCP:
        unlock_pcp(m, int(context.held_pcp))
    lock_pcp(m, p, int(context.cpu))
    context.held_pcp = p


@small
def hold_while_waiting(m: Machine, ac: ContextIdx, wants: int) -> None:
    """Hold the context's list where what it wants is the zone's lock for a refill or a drain."""
    if wants == LOCK and moves_many(m, ac):
        context = m.contexts[ac]
        assert context.lock == zone_lock(context.zone), "a list is held for another lock than its zone's"
        hold_pcp(m, ac, pcp_index(m, context.zone, context.cpu))


@small
def hold_if_used(m: Machine, ac: ContextIdx, is_alloc: bool) -> None:
    """Hold the list that a request has just begun on, unless it goes to the zone."""
    context = m.contexts[ac]
    is_done = context.stage in (PAGES_DONE, PREP) and (not is_alloc or context.pfn != NO_PAGE)
    if is_done or moves_many(m, ac):
        hold_pcp(m, ac, pcp_index(m, context.zone, context.cpu))


@small
def let_go(m: Machine, ac: ContextIdx, wants: int) -> None:
    """A stage of the request is over: it lets go of its list, unless it still waits for the zone's lock with it."""
    context = m.contexts[ac]
    if context.held_pcp != NO_PCP and not (wants == LOCK and moves_many(m, ac)):
        unlock_pcp(m, int(context.held_pcp))
        context.held_pcp = NO_PCP
