"""The locals of vmalloc's functions that are under way: one record for each frame (see `mm.vm_records`).

Each field has one meaning, in whichever function it is used. A function sets what it reads; the fields of others
hold what an earlier frame has left there.
"""

import numpy as np

from kmsim.jit import Record

vm_frame_t = np.dtype(
    (
        Record,
        [
            ("step", np.int64),
            ("drop", np.int64),  # ranges whose objects are still to be freed: the first and the last
            ("drop_tail", np.int64),
            ("then", np.int64),  # the step behind that
            # vmalloc and vmap; kvmalloc hands on the first three.
            ("gfp", np.int64),
            ("nr_bytes", np.int64),
            ("vm_flags", np.int64),
            ("nr_pages", np.int64),
            ("order", np.int64),  # of each mapping
            ("area", np.int64),
            ("va", np.int64),  # a vfree's and a purge's range, too
            ("start_vpn", np.int64),  # where the range begins, or NO_START
            ("range_pages", np.int64),  # the range's length, its guard page included
            ("owner", np.int64),  # as `vmap_area_t.owner`
            ("pool", np.int64),  # the pool that may have the range, or is given one
            ("spare", np.int64),  # the record preloaded by this request, or NO_VA
            ("purged", np.int64),
            ("nr_got", np.int64),  # pages that are there
            ("last_pfn", np.int64),  # the last of them
            ("next_vpn", np.int64),  # the first page that is not mapped yet
            ("table_level", np.int64),
            ("table_pfn", np.int64),  # of a new table, or of one that a huge mapping replaces
            # vfree
            ("node", np.int64),  # where the range goes back to; the node that a purge works on
            ("nr_lazy_pages", np.int64),  # the lazily freed pages of all nodes, with the range's own
            ("deferred_cpu", np.int64),  # whose list of deferred frees is worked off
            ("deferred_area", np.int64),  # the next one of that list, or NO_AREA
            # purge
            ("full_pool_decay", np.int64),
            ("pool_size", np.int64),  # of the pool that decays: the length of its ranges; 0: none yet
            ("detached", np.int64),  # the pool's ranges that have not decayed, or NO_VA
            ("flush_start", np.int64),  # the addresses that the TLBs are flushed for, as vpns
            ("flush_end", np.int64),
            ("nr_purged_pages", np.int64),  # of the node
            ("global_list", np.int64),  # the node's ranges that go to the free space, or NO_VA
            # kvmalloc
            ("cache", np.int64),
            ("block_order", np.int64),  # of the block of pages that it is, where no cache has such objects
            ("reason", np.int64),
            ("may_leave", np.int64),
            # kvfree and kvrealloc: the memory that there was
            ("old_outcome", np.int64),
            ("old_obj", np.int64),  # one of the three, by its outcome
            ("old_pfn", np.int64),
            ("old_area", np.int64),
            ("old_order", np.int64),
            ("old_bytes", np.int64),  # that it has room for, or of an area, that were asked for
            # kvrealloc: the memory that there is now
            ("new_outcome", np.int64),
            ("new_obj", np.int64),
            ("new_pfn", np.int64),
            ("new_order", np.int64),
            ("new_area", np.int64),
        ],
    )
)
