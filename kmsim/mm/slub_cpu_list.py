"""How long a CPU's list of partial slabs may be, and what a slab on it is (kernel: mm/slub.c, put_cpu_partial).

By slabs (since Linux 5.16): the list has at most cpu_partial_slabs, each of which says how many there are from it on;
slabs on it are not frozen. By objects, where `params.partial_counts_objects` is on: each slab says how many objects
were free from it on when it was added (kernel: pobjects), which frees do not change; slabs on the list are frozen, so
that frees leave them where they are.

Leaves out a cpu_partial that is changed while the machine runs. Invariant: what a slab says is what the one behind it
says, and its own share. Lock order: as in `mm.slub_partial`, which calls these.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_records import SLAB_FROZEN, SLAB_LIVE, Slub


@small
def noted_from(sl: Slub, slab: SlabIdx) -> int:
    """What a slab says of the list from it on: slabs, or objects; kept in `prev` (kernel: slab->slabs, in a union)."""
    return int(sl.slabs[slab].prev)


@small
def is_full_list(m: Machine, sl: Slub, ac: ContextIdx, noted: int) -> bool:
    """Has the list to be given to the nodes before a slab is added? `noted`: what its first slab says."""
    cache = sl.caches[int(sl.contexts[ac].cache)]
    if m.params[0].partial_counts_objects:
        return bool(noted > cache.cpu_partial)
    return bool(noted >= cache.cpu_partial_slabs)


@small
def note_on_list(m: Machine, sl: Slub, slab: SlabIdx, noted: int) -> None:
    """A slab goes to the head of the list, whose first slab said `noted`."""
    if m.params[0].partial_counts_objects:
        record = sl.slabs[slab]
        record.slab_flags = int(record.slab_flags) | SLAB_FROZEN
        record.prev = noted + int(record.objects) - int(record.inuse)
    else:
        sl.slabs[slab].prev = noted + 1


@small
def leave_list(m: Machine, sl: Slub, slab: SlabIdx) -> None:
    """A slab of the list goes to its node's (kernel: unfreeze_partials)."""
    if m.params[0].partial_counts_objects:
        sl.slabs[slab].slab_flags = int(sl.slabs[slab].slab_flags) & ~SLAB_FROZEN


@small
def has_enough(m: Machine, sl: Slub, ac: ContextIdx, nr_put: int, nr_free: int) -> bool:
    """Were enough slabs taken off a node's list?

    `nr_put` of them to the CPU's list, behind the first; `nr_free` objects are free in all (kernel: get_partial_node).
    """
    cache = sl.caches[int(sl.contexts[ac].cache)]
    if m.params[0].partial_counts_objects:
        return bool(nr_free > cache.cpu_partial // 2)
    return bool(cache.cpu_partial_slabs == 0 or nr_put > cache.cpu_partial_slabs // 2)


@small
def flags_on_list(m: Machine) -> int:
    """Which of a slab's flags are set on the list."""
    return SLAB_LIVE | SLAB_FROZEN if m.params[0].partial_counts_objects else SLAB_LIVE


@small
def may_note(m: Machine, share: int) -> bool:
    """Is this a possible count for one slab: some free objects (before Linux 5.16), or one slab?"""
    return share > 0 if m.params[0].partial_counts_objects else share == 1
