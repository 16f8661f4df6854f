"""How objects are laid out in slabs: known caches, the rules one by one, and what holds of every cache."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.slab_geometry import (
    CMPXCHG_DOUBLE,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_FLAGS,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_TYPESAFE_BY_RCU,
    Geometry,
    SlabBuild,
    SlabError,
    new_geometry,
    slab_flags,
)

X86 = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10)
ARM_64K = SlabBuild(page_shift=16, nr_cpus=4, max_page_order=13)


def layout(object_size: int, build: SlabBuild = X86, **how: object) -> Geometry:
    return new_geometry(build, "mine", object_size, **how)  # type: ignore[arg-type]


def test_a_cache_as_a_kernel_was_recorded_to_lay_it_out() -> None:
    """signal_cache on x86-64 with 2 CPUs."""
    assert layout(952, flags=SLAB_HWCACHE_ALIGN) == Geometry(
        name="mine",
        object_size=952,
        size=960,
        align=64,
        inuse=952,
        offset=472,
        flags=SLAB_HWCACHE_ALIGN | CMPXCHG_DOUBLE,
        order=2,
        objects=17,
        min_order=0,
        min_objects=4,
        cpu_partial=52,
        cpu_partial_slabs=7,
        min_partial=5,
        has_ctor=False,
    )


def test_more_cpus_ask_for_larger_slabs() -> None:
    """At least 4 * (fls(CPUs) + 1) objects, where SLUB's largest usual order holds them: 560 bytes, recorded."""
    orders = [layout(560, SlabBuild(12, nr_cpus, 10)).order for nr_cpus in (1, 2, 3, 4, 15, 16, 64, 1024)]
    assert orders == [1, 1, 1, 2, 2, 2, 3, 3]


def test_what_must_survive_a_free_moves_the_free_pointer_behind_the_object() -> None:
    plain, rcu, ctor = layout(100), layout(100, flags=SLAB_TYPESAFE_BY_RCU), layout(100, has_ctor=True)
    assert [(cache.inuse, cache.offset, cache.size) for cache in (plain, rcu, ctor)] == [
        (104, 48, 104),
        (104, 104, 112),
        (104, 104, 112),
    ]


def test_the_creator_may_say_where_an_rcu_object_has_room_for_the_free_pointer() -> None:
    """filp: 168 bytes, of which 8 at offset 136 may be overwritten."""
    filp = layout(168, flags=SLAB_TYPESAFE_BY_RCU | SLAB_HWCACHE_ALIGN, freeptr_offset=136)
    assert (filp.offset, filp.inuse, filp.size) == (136, 168, 192)
    assert layout(192, flags=SLAB_TYPESAFE_BY_RCU).size == 200
    assert layout(192, flags=SLAB_TYPESAFE_BY_RCU, freeptr_offset=0).size == 192


def test_small_objects_share_a_cache_line() -> None:
    sizes = (1, 8, 9, 16, 17, 32, 33, 64, 65, 129)
    assert [layout(size, flags=SLAB_HWCACHE_ALIGN).align for size in sizes] == [8, 8, 16, 16, 32, 32, 64, 64, 64, 64]
    assert layout(129, SlabBuild(12, 2, 10, cache_line_size=128), flags=SLAB_HWCACHE_ALIGN).align == 128


def test_the_larger_of_two_alignments_counts() -> None:
    assert layout(20, align=256, flags=SLAB_HWCACHE_ALIGN).size == 256
    assert layout(100, align=4).align == 8


def test_an_object_larger_than_the_usual_slabs_has_a_slab_of_its_own() -> None:
    """SLUB's usual orders end at 3: 32 KiB of 4 KiB pages."""
    assert [(layout(kib << 10).order, layout(kib << 10).objects) for kib in (16, 17, 32, 33, 4096)] == [
        (3, 2),
        (3, 1),
        (3, 1),
        (4, 1),
        (10, 1),
    ]


def test_large_slots_keep_fewer_objects_on_a_cpu_and_more_slabs_on_the_node() -> None:
    caches = [layout(size) for size in (248, 256, 1024, 4096, 1 << 20)]
    assert [cache.cpu_partial for cache in caches] == [120, 52, 24, 6, 6]
    assert [cache.min_partial for cache in caches] == [5, 5, 5, 6, 10]
    assert layout(4096, ARM_64K).cpu_partial == 24
    assert layout(100, SlabBuild(12, 2, 10, cpu_partial=False)).cpu_partial_slabs == 0


def test_accounting_counts_only_where_memory_cgroups_are_built_in() -> None:
    with_memcg = SlabBuild(12, 2, 10, memcg=True, cmpxchg_double=False)
    assert layout(64, flags=SLAB_ACCOUNT).flags == CMPXCHG_DOUBLE
    assert layout(64, with_memcg, flags=SLAB_ACCOUNT).flags == SLAB_ACCOUNT


def test_flags_go_by_their_kernel_names() -> None:
    assert slab_flags(["SLAB_CACHE_DMA", "HWCACHE_ALIGN"]) == SLAB_CACHE_DMA | SLAB_HWCACHE_ALIGN
    with pytest.raises(KeyError, match="SLAB_NOSUCH"):
        slab_flags(["NOSUCH"])


@pytest.mark.parametrize(
    ("object_size", "how", "why"),
    [
        (0, {}, "have objects of at least 1 byte, not 0"),
        (-8, {}, "have objects of at least 1 byte, not -8"),
        ((4 << 20) + 1, {}, "fit into the largest slab of 4194304 bytes"),
        (4 << 20, {"has_ctor": True}, "with its alignment it takes 4194312"),
        (64, {"align": 8 << 20}, "with its alignment it takes 8388608"),
        (64, {"align": 48}, "have an alignment that is a power of two, not 48"),
        (64, {"align": -64}, "have an alignment that is a power of two, not -64"),
        (64, {"flags": 1 << 30}, "have flags that are modelled, not 0x40000000"),
        (64, {"freeptr_offset": 8}, "have SLAB_TYPESAFE_BY_RCU where the free pointer's offset is given"),
        (64, {"flags": SLAB_TYPESAFE_BY_RCU, "freeptr_offset": 64}, "inside the object, not at 64"),
        (64, {"flags": SLAB_TYPESAFE_BY_RCU, "freeptr_offset": 4}, "at a multiple of 8 inside the object, not at 4"),
    ],
)
def test_what_cannot_be_is_refused(object_size: int, how: dict[str, int], why: str) -> None:
    with pytest.raises(SlabError) as refused:
        layout(object_size, **how)
    assert str(refused.value).endswith(why)


builds = st.builds(
    SlabBuild,
    page_shift=st.sampled_from([12, 14, 16]),
    nr_cpus=st.integers(1, 4096),
    max_page_order=st.integers(3, 13),
    cache_line_size=st.sampled_from([32, 64, 128]),
)
user_flags = st.integers(0, (1 << 18) - 1).map(lambda bits: bits & sum(SLAB_FLAGS.values()) & ~SLAB_KMALLOC)


@given(
    build=builds,
    object_size=st.one_of(st.integers(1, 10_000), st.integers(1, 1 << 20)),
    align=st.sampled_from([0, 1, 8, 16, 64, 256, 4096]),
    flags=user_flags,
    has_ctor=st.booleans(),
)
def test_every_cache_fits_and_is_aligned(
    build: SlabBuild, object_size: int, align: int, flags: int, has_ctor: bool
) -> None:
    try:
        cache = new_geometry(build, "mine", object_size, align=align, flags=flags, has_ctor=has_ctor)
    except SlabError:
        assert object_size + max(align, 64, build.cache_line_size) > build.largest_slab
        return
    slab, least = build.page_size << cache.order, build.page_size << cache.min_order
    assert cache.size % cache.align == 0
    assert cache.align % max(align, 8) == 0
    assert object_size <= cache.inuse <= cache.size
    assert cache.offset + 8 <= cache.size
    assert (cache.offset >= cache.inuse) == (has_ctor or bool(flags & SLAB_TYPESAFE_BY_RCU))
    assert cache.objects == slab // cache.size >= cache.min_objects == least // cache.size >= 1
    assert cache.min_order == 0 or least // 2 < cache.size
    assert cache.min_order <= cache.order <= max(3, cache.min_order) <= max(3, build.max_page_order)
    assert (
        cache.cpu_partial_slabs * cache.objects
        >= 2 * cache.cpu_partial
        > ((cache.cpu_partial_slabs - 1) * cache.objects)
    )
    if cache.min_order < 3:
        assert slab % cache.size <= slab // 2
