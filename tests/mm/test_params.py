"""A machine's parameters: one record, written field for field."""

from kmsim.mm.memblock import boot_machine
from kmsim.mm.mmzone import new_machine
from kmsim.mm.params import Params, params_t
from kmsim.mm.slab_geometry import SlabBuild, slab_build
from kmsim.mm.slab_kernels import LINUX_5_10
from tests.params import params

from .machines import boot_of, params_of

# No two alike, and none a default.
UNLIKE = Params(
    page_shift=14,
    max_page_order=8,
    pageblock_order=7,
    pmd_order=6,
    thp_built_in=True,
    nr_cpus=3,
    auto_tune=False,
    check_pages=True,
    tails_written=False,
    batch_scale_max=4,
    high_order_lists=False,
    lists_by_pageblock=False,
    merges_reserved=True,
    boost_wakes_all=True,
    reserves_by_high=False,
    boost_by_high=False,
    highatomic_to_the_page=False,
    exact_tail_listed=True,
    movable_has_mark=False,
    thp_off_recomputes=False,
    partial_counts_objects=True,
    vmalloc_huge=False,
    vmalloc_bulk=False,
    kvmalloc_kernel_only=True,
    vmap_nodes=False,
    folio_reclaim=False,
    drains_anew=True,
    free_high_late=True,
    atomic_early=True,
    reserves_at_min=True,
    reserve_follows=True,
    sheaves=True,
    series=5_010,
    stepwise=True,
    pcp_batch=9,
    pcp_high=77,
    watermark_boost_factor=12_000,
    init_on_alloc=True,
    init_on_free=True,
    mobility_disabled=True,
    nr_frames=5 << 8,
    nr_nodes=2,
    numa=True,
    cache_lines=555,
)


def test_the_records_fields_are_those_of_the_kernels_parameters_in_order() -> None:
    assert params_t.names == Params._fields


def test_every_parameter_of_a_machine_comes_from_the_record() -> None:
    assert params_of(new_machine(UNLIKE)) == UNLIKE


def test_the_test_would_see_any_field_left_out() -> None:
    default = params()
    same = [name for name in Params._fields if getattr(UNLIKE, name) == getattr(default, name)]
    assert same == ["thp_built_in"]
    assert UNLIKE.thp_built_in  # which is not the zero that a new record holds


def test_a_boot_adds_what_it_finds_and_changes_nothing_else() -> None:
    boot = boot_of(**UNLIKE._replace(mobility_disabled=False, nr_frames=0)._asdict())
    found = {"nr_frames": boot.ram[-1].end, "mobility_disabled": False}
    assert params_of(boot_machine(boot)) == UNLIKE._replace(**found)


def test_what_slub_sees_of_a_machine_comes_from_the_record() -> None:
    build = slab_build(UNLIKE, LINUX_5_10, 32)
    shared = [name for name in SlabBuild.__slots__ if name in Params._fields]
    assert shared == ["page_shift", "nr_cpus", "max_page_order", "partial_counts_objects", "sheaves"]
    assert {name: getattr(build, name) for name in shared} == {name: getattr(UNLIKE, name) for name in shared}
    assert (build.kernel, build.arch_kmalloc_minalign, build.kmalloc_minalign) == (LINUX_5_10, 32, 32)
