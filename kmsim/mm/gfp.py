"""GFP flags: what a caller says about its request (kernel: include/linux/gfp_types.h).

Models every flag and composite by its kernel name and value as in 6.12 without KASAN, LOCKDEP and
slab object extensions; which zone and migratetype a mask means; which reserves it may use.
Leaves out: cpusets, the memory policies of a task, scoped constraints (memalloc_nofs_save).
"""

import numpy as np

from kmsim.jit import small
from kmsim.mm.indices import Gfp, Order, ZoneType

GFP_FLAGS: dict[str, int] = {
    "__GFP_DMA": 1 << 0,
    "__GFP_HIGHMEM": 1 << 1,
    "__GFP_DMA32": 1 << 2,
    "__GFP_MOVABLE": 1 << 3,
    "__GFP_RECLAIMABLE": 1 << 4,
    "__GFP_HIGH": 1 << 5,
    "__GFP_IO": 1 << 6,
    "__GFP_FS": 1 << 7,
    "__GFP_ZERO": 1 << 8,
    "__GFP_DIRECT_RECLAIM": 1 << 10,
    "__GFP_KSWAPD_RECLAIM": 1 << 11,
    "__GFP_WRITE": 1 << 12,
    "__GFP_NOWARN": 1 << 13,
    "__GFP_RETRY_MAYFAIL": 1 << 14,
    "__GFP_NOFAIL": 1 << 15,
    "__GFP_NORETRY": 1 << 16,
    "__GFP_MEMALLOC": 1 << 17,
    "__GFP_COMP": 1 << 18,
    "__GFP_NOMEMALLOC": 1 << 19,
    "__GFP_HARDWALL": 1 << 20,
    "__GFP_THISNODE": 1 << 21,
    "__GFP_ACCOUNT": 1 << 22,
    "__GFP_ZEROTAGS": 1 << 23,
    # Compiled to nothing in the reference configuration (no KASAN, LOCKDEP, slab extensions).
    "__GFP_SKIP_ZERO": 0,
    "__GFP_SKIP_KASAN": 0,
    "__GFP_NOLOCKDEP": 0,
    "__GFP_NO_OBJ_EXT": 0,
}


def _of(*names: str) -> int:
    mask = 0
    for name in names:
        mask |= GFP_FLAGS[name]
    return mask


GFP_FLAGS["__GFP_RECLAIM"] = _of("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM")
GFP_FLAGS["GFP_ATOMIC"] = _of("__GFP_HIGH", "__GFP_KSWAPD_RECLAIM")
GFP_FLAGS["GFP_KERNEL"] = _of("__GFP_RECLAIM", "__GFP_IO", "__GFP_FS")
GFP_FLAGS["GFP_KERNEL_ACCOUNT"] = _of("GFP_KERNEL", "__GFP_ACCOUNT")
GFP_FLAGS["GFP_NOWAIT"] = _of("__GFP_KSWAPD_RECLAIM", "__GFP_NOWARN")
GFP_FLAGS["GFP_NOIO"] = _of("__GFP_RECLAIM")
GFP_FLAGS["GFP_NOFS"] = _of("__GFP_RECLAIM", "__GFP_IO")
GFP_FLAGS["GFP_USER"] = _of("GFP_KERNEL", "__GFP_HARDWALL")
GFP_FLAGS["GFP_DMA"] = _of("__GFP_DMA")
GFP_FLAGS["GFP_DMA32"] = _of("__GFP_DMA32")
GFP_FLAGS["GFP_HIGHUSER"] = _of("GFP_USER", "__GFP_HIGHMEM")
GFP_FLAGS["GFP_HIGHUSER_MOVABLE"] = _of("GFP_HIGHUSER", "__GFP_MOVABLE", "__GFP_SKIP_KASAN")
GFP_FLAGS["GFP_TRANSHUGE_LIGHT"] = _of("GFP_HIGHUSER_MOVABLE", "__GFP_COMP", "__GFP_NOMEMALLOC", "__GFP_NOWARN") & ~_of(
    "__GFP_RECLAIM"
)
GFP_FLAGS["GFP_TRANSHUGE"] = _of("GFP_TRANSHUGE_LIGHT", "__GFP_DIRECT_RECLAIM")

GFP_DMA = GFP_FLAGS["__GFP_DMA"]
GFP_HIGHMEM = GFP_FLAGS["__GFP_HIGHMEM"]
GFP_DMA32 = GFP_FLAGS["__GFP_DMA32"]
GFP_MOVABLE = GFP_FLAGS["__GFP_MOVABLE"]
GFP_RECLAIMABLE = GFP_FLAGS["__GFP_RECLAIMABLE"]
GFP_HIGH = GFP_FLAGS["__GFP_HIGH"]
GFP_IO = GFP_FLAGS["__GFP_IO"]
GFP_FS = GFP_FLAGS["__GFP_FS"]
GFP_ZERO = GFP_FLAGS["__GFP_ZERO"]
GFP_DIRECT_RECLAIM = GFP_FLAGS["__GFP_DIRECT_RECLAIM"]
GFP_KSWAPD_RECLAIM = GFP_FLAGS["__GFP_KSWAPD_RECLAIM"]
GFP_NOWARN = GFP_FLAGS["__GFP_NOWARN"]
GFP_RETRY_MAYFAIL = GFP_FLAGS["__GFP_RETRY_MAYFAIL"]
GFP_NOFAIL = GFP_FLAGS["__GFP_NOFAIL"]
GFP_NORETRY = GFP_FLAGS["__GFP_NORETRY"]
GFP_MEMALLOC = GFP_FLAGS["__GFP_MEMALLOC"]
GFP_COMP = GFP_FLAGS["__GFP_COMP"]
GFP_NOMEMALLOC = GFP_FLAGS["__GFP_NOMEMALLOC"]
GFP_RECLAIM = GFP_FLAGS["__GFP_RECLAIM"]
GFP_THISNODE = GFP_FLAGS["__GFP_THISNODE"]
GFP_KERNEL = GFP_FLAGS["GFP_KERNEL"]
GFP_ATOMIC_BIT = 1 << 9  # __GFP_ATOMIC, up to Linux 6.2

# Which flags of a caller go along to requests that are made on its behalf (kernel: mm/internal.h).
GFP_RECLAIM_MASK = (
    GFP_RECLAIM
    | GFP_HIGH
    | GFP_IO
    | GFP_FS
    | GFP_NOWARN
    | GFP_RETRY_MAYFAIL
    | GFP_NOFAIL
    | GFP_NORETRY
    | GFP_MEMALLOC
    | GFP_NOMEMALLOC
    | GFP_ATOMIC_BIT
)
GFP_CONSTRAINT_MASK = GFP_FLAGS["__GFP_HARDWALL"] | GFP_THISNODE

GFP_MOVABLE_SHIFT = 3  # from the mask of mobility to the migratetype

# Which of the low four zone bits may stand together (kernel: GFP_ZONE_BAD).
_ZONE_BITS = GFP_DMA | GFP_HIGHMEM | GFP_DMA32 | GFP_MOVABLE

# The zone that a set of zone bits means on 64-bit machines, which have no ZONE_HIGHMEM
# (kernel: GFP_ZONE_TABLE); ZONE_DMA 0, ZONE_DMA32 1, ZONE_NORMAL 2, ZONE_MOVABLE 3.
_ZONE_OF_BITS = {
    0: 2,
    GFP_DMA: 0,
    GFP_HIGHMEM: 2,
    GFP_DMA32: 1,
    GFP_MOVABLE: 2,
    GFP_MOVABLE | GFP_DMA: 0,
    GFP_MOVABLE | GFP_HIGHMEM: 3,
    GFP_MOVABLE | GFP_DMA32: 1,
}
_ZONE_TABLE = np.array([_ZONE_OF_BITS.get(bits, -1) for bits in range(16)])

# What get_page_from_freelist may do (kernel: mm/internal.h). The low bits index the watermarks.
ALLOC_WMARK_MIN = 0
ALLOC_WMARK_LOW = 1
ALLOC_WMARK_HIGH = 2
ALLOC_NO_WATERMARKS = 0x04
ALLOC_WMARK_MASK = ALLOC_NO_WATERMARKS - 1
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM
# Of kernels up to 6.2; bits of kmsim's own, as the kernel's are ALLOC_NON_BLOCK's and none.
ALLOC_HARDER = 0x1000
ALLOC_NO_BOOST = 0x2000  # the boost is ignored at the min mark

assert ALLOC_MIN_RESERVE == GFP_HIGH  # so that gfp_to_alloc_flags can mask, as the kernel's build checks
assert ALLOC_KSWAPD == GFP_KSWAPD_RECLAIM


def parse_gfp(text: str) -> int:
    """The mask of ``GFP_KERNEL | __GFP_ZERO``; ``& ~FLAG`` takes a flag away. ValueError names the bad word."""
    mask = 0
    for term in text.split("|"):
        added, *removed = (word.strip() for word in term.split("&"))
        mask |= _flag(added)
        for word in removed:
            if not word.startswith("~"):
                raise ValueError(f"'{word}' after & must be ~ and a GFP flag")
            mask &= ~_flag(word[1:].strip())
    return mask


def _flag(name: str) -> int:
    if name not in GFP_FLAGS:
        raise ValueError(f"'{name}' is not a GFP flag")
    return GFP_FLAGS[name]


def gfp_problem(gfp: Gfp, order: Order) -> str | None:
    """Why the kernel would warn of this mask (and therefore kmsim refuses it), or None."""
    if _ZONE_TABLE[gfp & _ZONE_BITS] < 0:
        return "at most one of __GFP_DMA, __GFP_DMA32 and __GFP_HIGHMEM"
    if gfp & GFP_MOVABLE and gfp & GFP_RECLAIMABLE:
        return "not both __GFP_MOVABLE and __GFP_RECLAIMABLE"
    if gfp & GFP_NOFAIL and not gfp & GFP_DIRECT_RECLAIM:
        return "__GFP_DIRECT_RECLAIM where __GFP_NOFAIL is given"
    if gfp & GFP_NOFAIL and order > 1:
        return "order 0 or 1 where __GFP_NOFAIL is given"
    return None


@small
def gfp_zone(gfp: Gfp) -> ZoneType:
    """The highest type of zone that may serve the request (kernel: gfp_zone)."""
    zone = int(_ZONE_TABLE[gfp & _ZONE_BITS])
    assert zone >= 0, "zone bits that exclude each other"
    return zone


@small
def gfp_to_alloc_flags(gfp: Gfp, order: Order) -> int:
    """The reserves that a request may use once the low watermark failed (kernel: gfp_to_alloc_flags)."""
    alloc_flags = ALLOC_WMARK_MIN | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM))
    if not gfp & GFP_DIRECT_RECLAIM:
        if not gfp & GFP_NOMEMALLOC:
            alloc_flags |= ALLOC_NON_BLOCK
            if order > 0 and gfp & GFP_HIGH:
                alloc_flags |= ALLOC_HIGHATOMIC
    return alloc_flags


@small
def is_atomic(gfp: Gfp) -> bool:
    """Does a request up to Linux 6.2 say __GFP_ATOMIC? One that has all else of GFP_ATOMIC is taken for it."""
    return gfp & GFP_ATOMIC_BIT != 0 or gfp & (GFP_HIGH | GFP_RECLAIM) == GFP_HIGH | GFP_KSWAPD_RECLAIM


@small
def gfp_to_alloc_flags_by_atomic(gfp: Gfp, order: Order) -> int:
    """The same up to Linux 6.2, where __GFP_ATOMIC says who may not wait."""
    alloc_flags = ALLOC_WMARK_MIN | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM))
    if is_atomic(gfp) and not gfp & GFP_NOMEMALLOC:
        alloc_flags |= ALLOC_HARDER
        if order > 0:
            alloc_flags |= ALLOC_HIGHATOMIC
    return alloc_flags
