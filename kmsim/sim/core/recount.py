"""A recount of all that a run has: pages, blocks that are due, and, where there are any, holders, slabs and addresses.

Leaves out vmalloc's addresses while any request for some is under way, asleep ones too: a range in a
request's hands is in no place (see `mm.vm_recount`). Invariant: changes nothing.
"""

from kmsim.jit import entry, only_with
from kmsim.mm.lru_recount import validate_lru
from kmsim.mm.mmzone import Machine
from kmsim.mm.recount import validate
from kmsim.mm.slub_recount import validate_slub
from kmsim.mm.vm_recount import validate_vm
from kmsim.sim.core.due import recount_due
from kmsim.sim.core.records import Core
from kmsim.sim.core.slot import recount_holders


@entry
def recount(s: Core) -> None:
    """Recount everything, between two events; AssertionError where two records disagree."""
    validate(s.m)
    recount_due(s)
    recount_holders(s.m, s)
    recount_lru(s.m, s)
    recount_slabs(s)
    if not uses_addresses(s):
        recount_addresses(s)


@only_with("lru")
def recount_lru(m: Machine, s: Core) -> None:
    """Recount the LRU lists and the page cache."""
    if m.lru is not None:
        validate_lru(m, s.parked.reclaims)


@only_with("slub")
def recount_slabs(s: Core) -> None:
    """Recount the slabs."""
    validate_slub(s.m, s.slub, s.parked.slab_contexts)


@only_with("vm")
def recount_addresses(s: Core) -> None:
    """Recount vmalloc's addresses."""
    validate_vm(s.m, s.vm)


@only_with("vm", True)
def uses_addresses(s: Core) -> bool:
    """Is any request for addresses under way?"""
    if s.vm is None:
        return True
    for ac in range(len(s.vm.contexts)):
        if s.vm.contexts[ac].depth:
            return True
    nr_parked = 0
    for k in range(len(s.tasks)):
        nr_parked += int(s.tasks[k].parked != 0)
    return nr_parked > 0
