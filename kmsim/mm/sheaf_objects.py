"""Objects that come into sheaves, and leave them.

Such an object's free pointer is neither read nor written: what is touched is the sheaf. Leaves out where the lines of
a sheaf are that comes from another CPU by way of a barn: each counts as hot. Invariant: as in `mm.sheaf_records`. Takes
no lock: the caller has the sheaf.
"""

from kmsim.jit import small
from kmsim.mm.gfp import GFP_NOMEMALLOC, GFP_NOWARN
from kmsim.mm.indices import ContextIdx, ObjectIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_records import IN_SHEAF
from kmsim.mm.slub_records import IN_USE, OWNERS, Slub

GFP_REFILL = GFP_NOMEMALLOC | GFP_NOWARN  # added where a sheaf is filled (kernel: __pcs_replace_empty_main)


@small
def hand_out(m: Machine, sl: Slub, ac: ContextIdx, obj: ObjectIdx) -> int:
    """An object leaves a sheaf for its user."""
    assert int(sl.links[obj]) & (IN_USE | IN_SHEAF) == IN_USE | IN_SHEAF, "an object of a sheaf is somebody's"
    sl.links[obj] = IN_USE | (int(m.contexts[ac].cpu) & (OWNERS - 1))
    m.work[0].lines_hot += 1
    return obj


@small
def lay_in(m: Machine, sl: Slub, ac: ContextIdx, sheaf: int, obj: ObjectIdx) -> None:
    """A user's object is added to a sheaf that has room."""
    record = sl.sheaves.sheaves[sheaf]
    sl.links[obj] = IN_USE | IN_SHEAF | (int(m.contexts[ac].cpu) & (OWNERS - 1))
    sl.sheaves.objects[int(record.first) + int(record.nr_objects)] = obj
    record.nr_objects = int(record.nr_objects) + 1
    m.work[0].lines_hot += 1


@small
def nr_of(sl: Slub, sheaf: int) -> int:
    """How many objects are in a sheaf."""
    return int(sl.sheaves.sheaves[sheaf].nr_objects)
