"""A kernel's config: which of its options the model has, and which move a decision or a price and are not modelled.

`SET` is written into the machine; `NOT_MODELLED` is named. Options without a part in what kmsim decides or prices are
passed over.
"""

from typing import Any

# What is set where an option is built in, as keys below `machine`.
SET: dict[str, tuple[tuple[str, ...], Any]] = {
    "SLAB_FREELIST_RANDOM": (("slab", "freelist_random"), True),
    "SLAB_BUCKETS": (("slab", "buckets"), True),
    "MEMCG_KMEM": (("slab", "memcg"), True),
    "MEMCG": (("slab", "memcg"), True),  # since 6.11 without an option of its own for slabs
    "INIT_ON_ALLOC_DEFAULT_ON": (("init_on_alloc",), True),
    "INIT_ON_FREE_DEFAULT_ON": (("init_on_free",), True),
}
NUMBERS = {"PCP_BATCH_SCALE_MAX": ("pcp", "batch_scale_max")}
NOT_MODELLED = {
    "LRU_GEN_ENABLED": "multi-gen LRU; answers about reclaim are for the classic LRU",
    "NUMA_BALANCING_DEFAULT_ENABLED": "NUMA balancing moves pages between nodes",
    "SLAB_FREELIST_HARDENED": "freelists of slabs are checked and obfuscated",
    "RANDOM_KMALLOC_CACHES": "kmalloc has 16 copies of its caches",
    "SHUFFLE_PAGE_ALLOCATOR": "free blocks are shuffled at boot",
    "SLUB_TINY": "SLUB without per-CPU slabs",
    "SLUB_DEBUG_ON": "slabs are checked on each use",
    "SLAB": "the SLAB allocator in place of SLUB",
    "SLOB": "the SLOB allocator in place of SLUB",
    "CMA": "contiguous memory areas are taken as in use",
    "KASAN": "every access is checked",
    "KMSAN": "every access is checked",
    "KFENCE": "some objects lie on guarded pages",
    "DEBUG_PAGEALLOC_ENABLE_DEFAULT": "freed pages are unmapped",
    "PAGE_OWNER": "who allocated a page is noted",
    "PAGE_POISONING": "freed pages are filled",
    "DEBUG_VM": "the kernel checks its own state",
    "MEM_ALLOC_PROFILING_ENABLED_BY_DEFAULT": "allocations are counted by call site",
    "PREEMPT_RT": "spinlocks sleep",
    "ZSWAP_DEFAULT_ON": "swapped pages are compressed in memory",
    "KSM": "equal pages are merged",
    "HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON": "struct pages of huge pages are freed",
}


def set_by(options: dict[str, str]) -> dict[tuple[str, ...], Any]:
    """Keys of the machine, by what is built in."""
    found = {key: value for name, (key, value) in SET.items() if options.get(name) == "y"}
    numbers = {key: int(options[name]) for name, key in NUMBERS.items() if options.get(name, "").isdigit()}
    return found | numbers


def not_modelled(options: dict[str, str]) -> list[str]:
    """What is built in and not modelled, in words."""
    return [f"CONFIG_{name} is not modelled: {what}" for name, what in NOT_MODELLED.items() if options.get(name) == "y"]


def largest_order(options: dict[str, str], release: tuple[int, int] | None) -> int | None:
    """MAX_PAGE_ORDER as the config says it: exclusive before 6.4 (`FORCE_MAX_ZONEORDER`, `ARCH_FORCE_MAX_ORDER`)."""
    words = [options.get(name, "") for name in ("ARCH_FORCE_MAX_ORDER", "FORCE_MAX_ZONEORDER")]
    said = next((int(word) for word in words if word.isdigit()), None)
    if said is None or (words[0] and release is None):
        return None
    return said if words[0] and release is not None and release >= (6, 4) else said - 1
