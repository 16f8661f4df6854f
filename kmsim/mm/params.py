"""A machine's parameters: all that `mm` is told before it starts, in one record of whole numbers.

What of them follows from the kernel's release, `mm.kernels` has in rows. Leaves out what a config says of time and of
workloads. Invariant: none changes while the machine runs. No locks.

To add a parameter (as `machine.pcp.batch_scale_max` was added):
    1. a field of `Params`, and its use where it decides
    2. where it follows from the release: a field of `kernels.Kernel`, and, if a config may say it, POLICY_KEYS of
       `config/releases.py`; the release's rule in `docs/releases.md` and in `tests/validation/test_releases.py`
    3. its key in `config/machine.py`, and its line in `params_of` of `config/machine_params.py`; of a recorded machine
       it then is what the config says, too. Where a kernel's own config says it: its option in `survey/options.py`
    4. its line in `configs/README.md`, a case in `tests/config/valid`, one in `invalid` for each limit; a key of
       the machine itself stands in the messages of `invalid/set_unknown_key.yaml` and `axis_key_unknown.yaml`, too
    5. the slow model in `tests/models/`, to which `tests/mm/machines.py` hands it (`twin_of`), drawn at random
       (`boots`). A rule of an older release: that release's model there (`tests/mm/older_pair.py`)
    6. unit tests of what it does, and a golden study; with the kernel's own value every golden stays as it is
    7. tests that list parameters: UNLIKE of `tests/mm/test_params.py` and of `tests/sim/run/test_boot.py`

To add a policy (as `pcp_order0` was added), besides a parameter that chooses it:
    1. a file `mm/NOUN.py` with its head and its verbs, each marked `verb`; the call, where a parameter chooses it
    2. POLICIES of `mm.kernels`, and the table at its head
    3. its field of `PoliciesConfig` in `config/policies.py`, its rows in `docs/policies.md` and in `configs/README.md`
    4. every verb is asked by `tests/mm/scenario.py` on the row of some release, and by a study of
       `tests/golden/test_policies.py`: both compare a copy of the file with the file
"""

from typing import NamedTuple

import numpy as np

from kmsim.jit import Record

CACHE_LINES_ASSUMED = 20480  # 1.25 MiB of 64-byte lines (assumed: a server CPU's second-level cache)


class Params(NamedTuple):
    """What a machine is and how its kernel was built, in whole numbers: all that `mm` is told before it starts.

    The one way in for parameters: `new_machine` writes this record field for field into `params_t`, whose
    fields are these. `nr_frames` and `mobility_disabled` are found by the boot, or stand in a recording; one machine
    state serves runs with several price lists and of both modes, so a run sets `cache_lines` and `stepwise` itself.
    """

    page_shift: int
    max_page_order: int
    pageblock_order: int
    pmd_order: int
    thp_built_in: bool
    nr_cpus: int
    auto_tune: bool  # per-CPU lists size themselves (mm.pcp_tuned), or have a fixed size (mm.pcp_fixed)
    check_pages: bool  # new pages are checked always (before Linux 6.4), or never (static key off)
    tails_written: bool  # a free writes every page of its block, or only counts them (see mm.tail_pages)
    batch_scale_max: int  # CONFIG_PCP_BATCH_SCALE_MAX: at most batch << this are moved in one hold of the zone's lock
    # Per-CPU lists hold more than order 0 (since Linux 5.14), or not (mm.pcp_order0). Where not, their sizes follow
    # from the batch (mm.zone_setup), drains go round robin and a drain of all takes one hold (mm.pcp), and a refill
    # that gets nothing goes on to the next zone (mm.page_alloc).
    high_order_lists: bool
    lists_by_pageblock: bool  # a free block is on the list of its pageblock's type (since 6.10), or of the one it got
    merges_reserved: bool  # a block of highatomic pageblocks merges with others (before 5.18)
    boost_wakes_all: bool  # whoever takes from a boosted zone wakes kswapd, whatever its flags (before 6.1.y)
    reserves_by_high: bool  # __GFP_HIGH that cannot wait opens the reserves most (since 6.1.y), or __GFP_ATOMIC
    boost_by_high: bool  # the boost does not stop __GFP_HIGH (since 6.3), or __GFP_ATOMIC
    highatomic_to_the_page: bool  # what is kept for highatomic requests is a hundredth, and counted by the free page
    exact_tail_listed: bool  # what exact requests do not need goes to the per-CPU lists (before 6.0)
    movable_has_mark: bool  # ZONE_MOVABLE has a min mark of its own (since 6.5), or a share like any other
    thp_off_recomputes: bool  # the reserve is computed again where THP is off (since 5.17)
    partial_counts_objects: bool  # a CPU's partial slabs are counted by their free objects (before 5.16)
    vmalloc_huge: bool  # vmalloc maps whole PMDs where it may (since 5.13)
    vmalloc_bulk: bool  # vmalloc asks for many pages at once (since 5.14)
    kvmalloc_kernel_only: bool  # kvmalloc goes on to vmalloc only for flags with all of GFP_KERNEL (5.10)
    vmap_nodes: bool  # the space of vmalloc is dealt out to nodes, with pools of their own (since 6.9)
    # Direct reclaim as in 6.12: batches of 31 folios, each freed when it is full, in order; rotations count beside
    # writes; one more pass before active lists are forced. Off: as in 5.10 and 6.1 (see `mm.vmscan`).
    folio_reclaim: bool
    drains_anew: bool  # after each batch of a drain the list just freed to comes first again (7.3)
    free_high_late: bool  # frees of orders 1 to 3 empty the lists once free_count is past half of high_min, too (7.3)
    atomic_early: bool  # ALLOC_HIGHATOMIC from the first walk on, and no refill for it (7.3)
    reserves_at_min: bool  # a pageblock becomes highatomic for blocks of the zone's lists at the min mark alone (7.3)
    reserve_follows: bool  # lowmem reserves follow the pages that the boot gives to zones late (7.3)
    sheaves: bool  # CPUs keep free objects in sheaves, and nodes in barns (7.3), or CPUs have slabs
    series: int  # the release whose files are printed: 6012 is 6.12
    pcp_batch: int = 0  # pages; 0: as zone_batchsize finds it
    pcp_high: int = 0  # pages; 0: as zone_highsize finds it
    watermark_boost_factor: int = 15000
    init_on_alloc: bool = False  # boot option: new pages and objects are zeroed, whoever asks for them
    init_on_free: bool = False  # boot option: pages and objects are zeroed when they are freed
    mobility_disabled: bool = False  # page_group_by_mobility_disabled
    nr_frames: int = 0
    nr_nodes: int = 1
    numa: bool = False  # CONFIG_NUMA: where allocations land is counted
    stepwise: bool = False  # each decision is taken by itself: each try at a list's lock is wanted (see mm.wants)
    cache_lines: int = CACHE_LINES_ASSUMED  # how many misses of its CPU a line survives: the cache's capacity


params_t = np.dtype((Record, [(name, np.int64) for name in Params._fields]))
