"""What the page allocator has done, in counts; the price list turns them into time (`sim.core.costs`).

Who prices them sets them to zero. Blocks are counted by `mm.buddy` and `mm.fallback`, cache lines by where they
were by `mm.cacheline`, `mm.slub_lines` and `mm.zone_lines`, how far these came by `mm.remote_lines`. Invariant:
nothing here decides anything.
"""

import numpy as np

from kmsim.jit import Record

work_t = np.dtype(
    (
        Record,
        [
            ("splits", np.int64),
            ("merges", np.int64),
            ("blocks_moved", np.int64),
            ("frames_scanned", np.int64),
            ("lines_hot", np.int64),  # struct pages touched, by where their cache line was
            ("lines_other", np.int64),
            ("lines_sequential", np.int64),
            ("lines_memory", np.int64),
            ("lines_shared", np.int64),  # lines of a zone that another CPU has read (see mm.zone_lines)
            ("beyond_other", np.int64),  # how much further than the own node these come, in all (see mm.remote_lines)
            ("beyond_other_max", np.int64),  # the furthest of them
            ("beyond_memory", np.int64),  # the same for lines from memory, prefetched ones included
            ("beyond_memory_max", np.int64),
            ("beyond_shared", np.int64),
            ("watermark_checks", np.int64),  # zones whose marks were compared
            ("pages_checked", np.int64),
            ("tails_walked", np.int64),  # pages behind the first of a block (see mm.tail_pages)
            ("bytes_zeroed", np.int64),
            ("pages_freed", np.int64),  # one by one, as parts of one request
        ],
    )
)
