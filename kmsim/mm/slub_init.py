"""Objects that are zeroed: at their caller's wish, or by the boot options init_on_alloc and init_on_free.

Where contents outlive a free (behind a constructor, or of SLAB_TYPESAFE_BY_RCU), neither option touches objects; their
slabs' pages are zeroed as all pages are (see `mm.prep_new_page`). Leaves out poisoning and KASAN. Invariant: nothing is
changed but the count of work. Lock order: takes none.
"""

from kmsim.jit import small
from kmsim.mm.gfp import GFP_ZERO
from kmsim.mm.indices import CacheIdx, Gfp
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_geometry import WORD
from kmsim.mm.slub_records import Slub


@small
def init_objects(m: Machine, sl: Slub, cache: CacheIdx, gfp: Gfp, nr_objects: int) -> None:
    """Zero new objects, if they are to be (kernel: slab_want_init_on_alloc, maybe_wipe_obj_freeptr)."""
    params = m.params[0]
    of_cache = sl.caches[cache]
    if gfp & GFP_ZERO or (params.init_on_alloc and of_cache.wiped_bytes):
        m.work[0].bytes_zeroed += nr_objects * of_cache.object_size
    if params.init_on_free and of_cache.wiped_bytes:
        m.work[0].bytes_zeroed += nr_objects * WORD  # the free pointer, which was written after the free


@small
def wipe_objects(m: Machine, sl: Slub, cache: CacheIdx, nr_objects: int) -> None:
    """Zero objects that are being freed, if all are (kernel: slab_want_init_on_free)."""
    if m.params[0].init_on_free:
        m.work[0].bytes_zeroed += nr_objects * sl.caches[cache].wiped_bytes
