"""Kernel releases: what differs between them, one row of policies each.

A *policy* is a decision that kernels make differently, and that somebody may want to make otherwise: how much a
per-CPU list holds and moves, whether new pages are looked at, what is taken where a migratetype has no block left.
Each is one file of `mm`; the rest of `mm` calls its *verbs* and nothing else of it:

    file            verbs                                                     it decides
    pcp_tuned       note_alloc, nr_pcp_alloc, nr_to_drain, decay_pcp_high     where params.auto_tune is on
    pcp_fixed       the same                                                  where it is off
    pcp_order0      the same                                                  where params.high_order_lists is off, too
    new_pages       check_new_pages                                           where params.check_pages is on
    tail_pages      free_tail_pages, prep_compound_page                       of blocks of order > 0
    fallback        rmqueue_fallback                                          where params.lists_by_pageblock is on
    fallback_moves  rmqueue_fallback                                          where it is off
    highatomic      may_refill, may_reserve, reserve_highatomic_pageblock, unreserve_highatomic_pageblock  always

A row says, by data, what a release does: its fields are those fields of `mm.params.Params` that follow from the
release. Explicit keys of a config (`pcp.auto_tune`, `check_pages` ...) override the row, and describe a kernel
that has none (`kmsim.config.releases`). Policies of one noun stand side by side in the compiled code, and a
param chooses: one branch.

A file from outside of the package takes a policy's place on one machine, from its boot on: a config's
`machine.policies` names it, or `Policies({"fallback": path})` is given to what makes the machine (`new_machine`,
`Boot`, `build_machine`; of a run, `sim.simulation.new_simulation`). It becomes `Machine.policies` (see
`kmsim.jit_policies`; the choice is made when code is compiled). The file has the policy's verbs, with the same
parameters (`kmsim.jit_policy_source`); how they may be called, the docstrings in the package's file say, and
docs/policies.md. A copy of that file is a beginning.

What a verb may do: read all of the machine; change what its docstring names, and through the verbs of `mm.buddy`,
`mm.pageblock`, `mm.vmstat` and `mm.cacheline` what they change; count its work in `work` and its events in
`events`. It draws no random numbers, knows no time, keeps no state but in the machine's records, and allocates
nothing. Invariant: `mm.recount.validate` holds before and after.
Lock order: pcp lock, then the zone's lock. A verb is called under the locks that its module head names, and takes
and gives none: where a lock is wanted, the verb says how much to move, and `mm.page_alloc` asks for the lock.

What a release does otherwise in a line or two is no file of its own, but a param that is asked where it matters
(`mm.watermark`, `mm.highatomic`, `mm.buddy`, `mm.zone_setup`, `mm.slub_cpu_list` ...). Where slab caches are created,
`mm.slab_kernels` has the rows.

To add a release: a row here, and recordings that show it (CONTRIBUTING.md). To add a field to the rows, or a policy:
the recipe at the head of `mm.params`.
"""

from typing import NamedTuple


class Kernel(NamedTuple):
    """What a release does, where `mm` knows releases that differ; the fields are those of `Params` of that name.

    Fields with a default are build options; every release that has one has this default.
    """

    auto_tune: bool
    check_pages: bool
    tails_written: bool = True
    batch_scale_max: int = 5
    high_order_lists: bool = True
    lists_by_pageblock: bool = True
    merges_reserved: bool = False
    boost_wakes_all: bool = False
    reserves_by_high: bool = True
    boost_by_high: bool = True
    highatomic_to_the_page: bool = True
    exact_tail_listed: bool = False
    movable_has_mark: bool = True
    thp_off_recomputes: bool = True
    partial_counts_objects: bool = False
    vmalloc_huge: bool = True
    vmalloc_bulk: bool = True
    kvmalloc_kernel_only: bool = False
    vmap_nodes: bool = True
    folio_reclaim: bool = True
    drains_anew: bool = False
    free_high_late: bool = False
    atomic_early: bool = False
    reserves_at_min: bool = False
    reserve_follows: bool = False
    sheaves: bool = False
    series: int = 6_012


# The policies: files of `mm` by these names.
POLICIES = (
    "fallback",
    "fallback_moves",
    "highatomic",
    "new_pages",
    "pcp_fixed",
    "pcp_order0",
    "pcp_tuned",
    "tail_pages",
)

LINUX_6_1 = Kernel(
    auto_tune=False,
    check_pages=True,
    lists_by_pageblock=False,
    boost_by_high=False,
    highatomic_to_the_page=False,
    movable_has_mark=False,
    vmap_nodes=False,
    folio_reclaim=False,
    series=6_001,
)
LINUX_5_10 = LINUX_6_1._replace(
    high_order_lists=False,
    merges_reserved=True,
    boost_wakes_all=True,
    reserves_by_high=False,
    exact_tail_listed=True,
    thp_off_recomputes=False,
    partial_counts_objects=True,
    vmalloc_huge=False,
    vmalloc_bulk=False,
    kvmalloc_kernel_only=True,
    series=5_010,
)

LINUX_6_12 = Kernel(auto_tune=True, check_pages=False)
LINUX_7_3 = LINUX_6_12._replace(
    drains_anew=True,
    free_high_late=True,
    atomic_early=True,
    reserves_at_min=True,
    reserve_follows=True,
    sheaves=True,
    series=7_003,
)

# The releases that are built in, by major and minor number.
KERNELS = {
    "5.10": LINUX_5_10,
    "6.1": LINUX_6_1,
    "6.12": LINUX_6_12,
    "7.3": LINUX_7_3,
}
NEWEST_RELEASE = "6.12"  # the newest longterm release of them: what is simulated where a config says none
NEWEST = KERNELS[NEWEST_RELEASE]


def series_of(release: str) -> str:
    """The first two numbers of a release: 6.12 of ``6.12.117-lab``."""
    version = release.split("-", maxsplit=1)[0].split(".")
    return ".".join(version[:2])


def kernel_of(release: str) -> Kernel | None:
    """The row of a release such as 6.12.117-lab; None where it is not built in."""
    return KERNELS.get(series_of(release))
