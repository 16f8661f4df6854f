"""Recount every sheaf, and stop where two records disagree (slow: it looks at every object).

Checked: that each object of a sheaf is allocated as its slab sees it, says that it is in a sheaf, and is in one alone;
barns' lists and their counters; that CPUs have main sheaves of their own. Leaves out that a sheaf is in one place
alone: a user's own is known to nobody else. Takes no lock; invariant: changes nothing.
"""

from kmsim.jit import core, only_with
from kmsim.mm.sheaf_records import IN_SHEAF, NO_SHEAF
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import IN_USE, SLAB_LIVE, Slub


@only_with("sheaves")
def recount_sheaves(sl: Slub) -> None:
    """Recount all sheaves; AssertionError names what is inconsistent."""
    nr_objects = 0
    for sheaf in range(sl.sheaves.params[0].nr_sheaves_used):
        nr_objects += recount_sheaf(sl, sheaf)
    for slab in range(sl.params[0].nr_slabs_used):
        record = sl.slabs[slab]
        if int(record.slab_flags) & SLAB_LIVE:
            first = int(record.first_object)
            for obj in range(first, first + int(record.objects)):
                link = int(sl.links[obj])
                nr_objects -= int(link >= IN_USE and link & IN_SHEAF != 0)
    assert nr_objects == 0, "objects say that they are in sheaves, and are in none, or in two"
    for barn in sl.sheaves.barns:
        assert length_of(sl, int(barn.full_first), True) == barn.nr_full, "nr_full differs from the list"
        assert length_of(sl, int(barn.empty_first), False) == barn.nr_empty, "nr_empty differs from the list"
    for of_cpu in sl.sheaves.cpus:
        assert int(of_cpu.main) == NO_SHEAF or int(of_cpu.main) != int(of_cpu.spare), "a sheaf is main and spare"


@core
def recount_sheaf(sl: Slub, sheaf: int) -> int:
    """Check a sheaf's objects; how many they are."""
    record = sl.sheaves.sheaves[sheaf]
    nr_objects = int(record.nr_objects)
    assert 0 <= nr_objects <= int(record.capacity), "a sheaf has more objects than places"
    for n in range(nr_objects):
        obj = int(sl.sheaves.objects[int(record.first) + n])
        assert int(sl.links[obj]) & (IN_USE | IN_SHEAF) == IN_USE | IN_SHEAF, "an object of a sheaf is somebody's"
        assert int(sl.slabs[slab_of(sl, obj)].slab_flags) & SLAB_LIVE, "an object of a sheaf has no slab"
    return nr_objects


@core
def length_of(sl: Slub, sheaf: int, is_full: bool) -> int:
    """How many sheaves are on a barn's list."""
    length = 0
    while sheaf != NO_SHEAF:
        record = sl.sheaves.sheaves[sheaf]
        assert int(record.nr_objects) == (int(record.capacity) if is_full else 0), "a sheaf is on the wrong list"
        length += 1
        assert length <= len(sl.sheaves.sheaves), "a barn's list runs in a circle"
        sheaf = int(record.next)
    return length
