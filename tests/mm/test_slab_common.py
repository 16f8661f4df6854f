"""The caches of a machine: kmalloc's families and tables, caches by name, and which of them merge."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.gfp import GFP_FLAGS, parse_gfp
from kmsim.mm.slab_common import Caches, kmalloc_limits, short_size
from kmsim.mm.slab_geometry import (
    SLAB_ACCOUNT,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_NO_MERGE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    SlabBuild,
    SlabError,
    kmalloc_info_index,
)

GFP_KERNEL = GFP_FLAGS["GFP_KERNEL"]
X86 = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10)
ARM_64K = SlabBuild(page_shift=16, nr_cpus=4, max_page_order=13)


def names(caches: Caches) -> list[str]:
    return [cache.name for cache in caches.geometries]


def served_by(caches: Caches, size: int, gfp: str = "GFP_KERNEL") -> str:
    index = caches.kmalloc_index(size, parse_gfp(gfp))
    return "pages" if index is None else caches.geometries[index].name


def test_the_boot_creates_its_caches_in_the_kernels_order() -> None:
    caches = Caches(X86)
    sizes = ["96", "192", "8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k", "8k"]
    families = [f"{prefix}{size}" for prefix in ("kmalloc-", "kmalloc-rcl-", "dma-kmalloc-") for size in sizes]
    assert names(caches) == ["kmem_cache", "kmem_cache_node", *families] == caches.names
    assert [caches.index_of(name) for name in families] == list(range(2, 41))
    assert names(Caches(ARM_64K))[14:19] == [
        "kmalloc-8k",
        "kmalloc-16k",
        "kmalloc-32k",
        "kmalloc-64k",
        "kmalloc-128k",
    ]


@pytest.mark.parametrize(
    ("gfp", "cache"),
    [
        ("GFP_KERNEL", "kmalloc-128"),
        ("GFP_ATOMIC | __GFP_ZERO", "kmalloc-128"),
        ("GFP_KERNEL | __GFP_RECLAIMABLE", "kmalloc-rcl-128"),
        ("GFP_KERNEL | GFP_DMA", "dma-kmalloc-128"),
        ("GFP_KERNEL | GFP_DMA | __GFP_RECLAIMABLE", "dma-kmalloc-128"),
        ("GFP_KERNEL_ACCOUNT", "kmalloc-128"),
    ],
)
def test_flags_choose_the_family(gfp: str, cache: str) -> None:
    assert served_by(Caches(X86), 100, gfp) == cache


def test_memory_cgroups_have_a_family_of_their_own_and_keep_others_out_of_the_plain_one() -> None:
    plain, caches = Caches(X86), Caches(SlabBuild(12, 2, 10, memcg=True))
    assert served_by(caches, 100, "GFP_KERNEL_ACCOUNT") == "kmalloc-cg-128"
    assert served_by(caches, 100, "GFP_KERNEL_ACCOUNT | __GFP_RECLAIMABLE") == "kmalloc-rcl-128"
    assert caches.create("mine", 128) == len(caches.geometries) - 1
    assert caches.create("accounted", 128, flags=SLAB_ACCOUNT) == caches.index_of("kmalloc-cg-128")
    assert plain.create("mine", 128) == plain.create("accounted", 128, flags=SLAB_ACCOUNT) == plain.index_of("mine")
    assert names(plain)[plain.index_of("mine")] == "kmalloc-128"


def test_sizes_go_to_the_smallest_cache_that_holds_them() -> None:
    caches = Caches(X86)
    sizes = (1, 8, 9, 64, 65, 96, 97, 128, 129, 192, 193, 256, 257, 4097, 8192, 8193)
    assert [served_by(caches, size) for size in sizes] == [
        *("kmalloc-8", "kmalloc-8", "kmalloc-16", "kmalloc-64", "kmalloc-96", "kmalloc-96", "kmalloc-128"),
        *("kmalloc-128", "kmalloc-192", "kmalloc-192", "kmalloc-256", "kmalloc-256", "kmalloc-512"),
        *("kmalloc-8k", "kmalloc-8k", "pages"),
    ]
    assert served_by(Caches(ARM_64K), 131072) == "kmalloc-128k"
    assert served_by(Caches(ARM_64K), 131073) == "pages"


def test_published_roundings() -> None:
    """The demonstration modules of the book Linux Kernel Programming, 4 KiB pages, order 10."""
    caches = Caches(X86)
    asked = (100, 200_100, 600_100, 1_000_100, 2_200_100)
    assert [caches.kmalloc_size_roundup(size) for size in asked] == [128, 262_144, 1_048_576, 1_048_576, 4_194_304]
    assert [caches.kmalloc_large_order(size) for size in asked[1:]] == [6, 8, 8, 10]
    assert caches.limits.kmalloc_max_size == 4_194_304


def test_what_kmalloc_does_not_give_is_not_rounded() -> None:
    caches = Caches(X86)
    assert [caches.kmalloc_size_roundup(size) for size in (0, (4 << 20) + 1)] == [0, (4 << 20) + 1]
    with pytest.raises(SlabError, match="at least 1 byte, not 0"):
        caches.kmalloc_index(0, GFP_KERNEL)


@pytest.mark.parametrize(
    ("minalign", "sizes"),
    [
        (8, ["96", "192", "8", "16", "32", "64", "128"]),
        (16, ["96", "192", "16", "32", "64", "128"]),
        (64, ["128", "192", "64"]),
        (128, ["128", "256"]),
    ],
)
def test_caches_for_dma_are_as_large_as_it_wants_them_aligned(minalign: int, sizes: list[str]) -> None:
    """An arm64 kernel without a bounce buffer for small objects (kernel: __kmalloc_minalign)."""
    caches = Caches(SlabBuild(12, 2, 10, kmalloc_minalign=minalign))
    assert names(caches)[2 : 2 + len(sizes)] == [f"kmalloc-{size}" for size in sizes]
    for size in range(1, 300):
        index = caches.kmalloc_index(size, GFP_KERNEL)
        assert index is not None
        assert caches.geometries[index].size >= size
        assert caches.geometries[index].size % minalign == 0


@pytest.mark.parametrize(("minalign", "first"), [(8, "96"), (32, "96"), (64, "192"), (128, "128")])
def test_an_architecture_that_aligns_all_of_kmalloc_has_fewer_caches(minalign: int, first: str) -> None:
    build = SlabBuild(12, 2, 10, arch_kmalloc_minalign=minalign, kmalloc_minalign=minalign)
    caches = Caches(build)
    assert names(caches)[2] == f"kmalloc-{first}"
    assert served_by(caches, 1) == f"kmalloc-{minalign}"
    assert kmalloc_limits(build).kmalloc_min_size == minalign


def test_the_table_spells_sizes_as_the_kernel_does() -> None:
    assert [short_size(size) for size in (8, 512, 1024, 131072, 2 << 20)] == ["8", "512", "1k", "128k", "2M"]


@given(size=st.integers(1, 8192), minalign=st.sampled_from([8, 16, 32, 64, 128]))
def test_no_smaller_entry_would_do(size: int, minalign: int) -> None:
    build = SlabBuild(12, 2, 10, arch_kmalloc_minalign=minalign, kmalloc_minalign=minalign)
    sizes = {1: 96, 2: 192} | {n: 1 << n for n in range(3, 14)}
    least = {8: {1, 2}, 16: {1, 2}, 32: {1, 2}, 64: {2}, 128: set()}[minalign]
    there = {n for n in sizes if n in least or (n > 2 and sizes[n] >= minalign)}
    assert kmalloc_info_index(build, size) == min((n for n in there if sizes[n] >= size), key=sizes.__getitem__)


# ---- caches by name


def test_a_cache_merges_with_the_oldest_that_has_slots_of_its_size() -> None:
    caches = Caches(X86)
    assert caches.create("maple_node", 256, align=256) == caches.index_of("kmalloc-256")
    assert caches.create("dentry", 192, flags=SLAB_RECLAIM_ACCOUNT) == caches.index_of("kmalloc-rcl-192")
    assert caches.aliases(caches.index_of("dentry")) == ["kmalloc-rcl-192", "dentry"]
    assert caches.refcounts[caches.index_of("dentry")] == 2
    assert len(caches.geometries) == 41


def test_slots_a_word_larger_or_smaller_are_another_cache() -> None:
    caches = Caches(X86)
    first = caches.create("first", 40)
    assert caches.create("smaller", 32) != first
    assert caches.create("larger", 48) != first
    assert caches.create("same", 33) == first


def test_a_merged_cache_grows_to_its_largest_object() -> None:
    caches = Caches(X86)
    index = caches.create("small", 33)
    before = caches.geometries[index]
    assert caches.create("large", 40) == index
    after = caches.geometries[index]
    assert (before.object_size, after.object_size) == (33, 40)
    assert (after.name, after.inuse, after.size, after.offset) == ("small", 40, 40, before.offset)
    lined = caches.create("line", 40, flags=SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE)
    assert caches.geometries[lined].inuse == 40


def test_a_merged_cache_zeroes_the_larger_object_and_uses_more_of_its_slot() -> None:
    """A slot of 64 bytes for the sake of alignment serves objects of 64 bytes, too."""
    caches = Caches(SlabBuild(12, 2, 10, memcg=True))  # whose kmalloc-64 merges with nobody
    index = caches.create("aligned", 40, flags=SLAB_HWCACHE_ALIGN)
    assert caches.create("whole", 64) == index
    assert (caches.geometries[index].object_size, caches.geometries[index].inuse) == (64, 64)


@pytest.mark.parametrize(
    "how",
    [
        {"has_ctor": True},
        {"flags": SLAB_NO_MERGE},
        {"flags": SLAB_TYPESAFE_BY_RCU},
        {"align": 512},
        {"flags": SLAB_RECLAIM_ACCOUNT},
    ],
)
def test_what_keeps_caches_apart(how: dict[str, int]) -> None:
    caches = Caches(X86)
    first = caches.create("first", 328)
    other = caches.create("other", 328, **how)  # type: ignore[arg-type]
    assert other != first
    assert caches.create("third", 328) == first
    if "align" not in how and how != {"flags": SLAB_RECLAIM_ACCOUNT}:
        assert caches.create("fourth", 328, **how) not in (first, other)  # type: ignore[arg-type]


def test_an_alignment_that_the_slots_do_not_keep_forbids_merging() -> None:
    """Slots of 104 bytes hold objects of 96 aligned to 8, and would hold them aligned to 32 only now and then."""
    caches = Caches(SlabBuild(12, 2, 10, memcg=True))
    first = caches.create("first", 104)
    assert caches.create("aligned", 100, align=16) != first
    assert caches.create("plain", 100) == first


def test_nothing_merges_where_the_kernel_was_told_so() -> None:
    caches = Caches(SlabBuild(12, 2, 10, merge=False))
    assert caches.create("first", 128) != caches.create("second", 128)


def test_the_caches_that_slub_is_built_on_are_nobodys() -> None:
    caches = Caches(X86)
    created = {caches.create("a", 192, flags=SLAB_HWCACHE_ALIGN), caches.create("b", 64, flags=SLAB_HWCACHE_ALIGN)}
    assert created == {caches.index_of("kmalloc-192"), caches.index_of("kmalloc-64")}


def test_a_name_is_one_cache() -> None:
    caches = Caches(X86)
    first = caches.create("mine", 328)
    assert caches.create("mine", 328) == first
    assert caches.refcounts[first] == 1
    for size, flags in ((336, 0), (328, SLAB_RECLAIM_ACCOUNT)):
        with pytest.raises(SlabError, match="have another name or the same geometry as the cache 'mine'"):
            caches.create("mine", size, flags=flags)
    with pytest.raises(SlabError, match="the cache 'kmalloc-96'"):
        caches.create("kmalloc-96", 96)
    with pytest.raises(SlabError, match="not have SLAB_KMALLOC"):
        caches.create("kmalloc-100", 100, flags=SLAB_KMALLOC)
    with pytest.raises(KeyError):
        caches.index_of("nobody")


def test_a_cache_is_shut_down_by_its_last_user() -> None:
    caches = Caches(X86)
    index = caches.create("first", 40)
    caches.create("second", 40)
    assert [caches.destroy("first"), caches.destroy("second")] == [False, True]
    assert caches.create("third", 40) != index
    for name in ("first", "kmalloc-64", "nobody"):
        with pytest.raises(SlabError, match="that was created and not destroyed yet"):
            caches.destroy(name)


def test_an_alias_of_kmalloc_leaves_kmalloc_alone() -> None:
    caches = Caches(X86)
    caches.create("mine", 64)
    assert not caches.destroy("mine")
    assert served_by(caches, 64) == "kmalloc-64"


def test_buckets_are_caches_of_their_own() -> None:
    caches = Caches(SlabBuild(12, 2, 10, buckets=True))
    added = names(caches)[41:]
    assert added[:3] == ["kmalloc_buckets", "memdup_user-96", "memdup_user-192"]
    assert added[-1] == "msg_msg-8k"
    assert len(added) == 1 + 2 * 13
    assert caches.geometries[41].object_size == 14 * 8
    assert caches.geometries[caches.index_of("msg_msg-64")].align == 8


def test_buckets_never_merge() -> None:
    caches = Caches(SlabBuild(12, 2, 10, buckets=True, memcg=True))
    for name in ("memdup_user-64", "msg_msg-64"):
        bucket = caches.geometries[caches.index_of(name)]
        accounted = SLAB_ACCOUNT if name.startswith("msg_msg") else 0
        assert bucket.flags & (SLAB_NO_MERGE | SLAB_ACCOUNT) == SLAB_NO_MERGE | accounted
        same = caches.create(f"like_{name}", bucket.object_size, align=bucket.align, flags=accounted)
        assert same != caches.index_of(name)
        assert caches.aliases(caches.index_of(name)) == [name]


def test_cpu_partial_is_set_in_objects_and_kept_in_half_free_slabs() -> None:
    caches = Caches(X86)
    index = caches.create("mine", 256, flags=SLAB_NO_MERGE)
    before = caches.geometries[index]
    assert (before.objects, before.cpu_partial, before.cpu_partial_slabs) == (16, 52, 7)
    for objects, slabs in ((0, 0), (1, 1), (8, 1), (9, 2), (1024, 128)):
        caches.set_cpu_partial("mine", objects)
        after = caches.geometries[index]
        assert after == replace(before, cpu_partial=objects, cpu_partial_slabs=slabs)


def test_cpu_partial_of_an_alias_is_that_of_the_cache() -> None:
    caches = Caches(X86)
    caches.create("mine", 64)
    caches.set_cpu_partial("mine", 6)
    kmalloc_64 = caches.geometries[caches.index_of("kmalloc-64")]
    assert (kmalloc_64.name, kmalloc_64.cpu_partial, kmalloc_64.cpu_partial_slabs) == ("kmalloc-64", 6, 1)
    with pytest.raises(KeyError):
        caches.set_cpu_partial("nobody", 6)
