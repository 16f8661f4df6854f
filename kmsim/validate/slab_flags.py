"""A cache's flags as a recorded kernel numbers them, and as kmsim does.

Up to Linux 6.8 the bits were written out by hand; since then they are an enumeration, which kmsim has
(`mm.slab_geometry.SLAB_FLAGS`, and CMPXCHG_DOUBLE). A flag that the kernel does not have has no bit. Of a recorded flag
that kmsim does not have the bit stays, and `new_geometry` refuses it.
"""

from __future__ import annotations

from kmsim.mm.slab_geometry import CMPXCHG_DOUBLE, SLAB_FLAGS
from kmsim.procfs.recorded import Recording

_OUR_BITS = SLAB_FLAGS | {"__CMPXCHG_DOUBLE": CMPXCHG_DOUBLE}
# With sheaves there is a flag more, without memory cgroups in the place of theirs.
_WITH_SHEAVES = {name: bit for name, bit in _OUR_BITS.items() if name != "SLAB_ACCOUNT"} | {"SLAB_NO_SHEAVES": 1 << 17}
_UNKNOWN = 1 << 32  # where recorded bits without a name go

# Kernel: include/linux/slab.h and mm/slub.c of 5.10 and 6.1.
_BY_HAND = {
    "SLAB_KMALLOC": 1 << 12,
    "SLAB_HWCACHE_ALIGN": 1 << 13,
    "SLAB_CACHE_DMA": 1 << 14,
    "SLAB_CACHE_DMA32": 1 << 15,
    "SLAB_RECLAIM_ACCOUNT": 1 << 17,
    "SLAB_PANIC": 1 << 18,
    "SLAB_TYPESAFE_BY_RCU": 1 << 19,
    "SLAB_NOLEAKTRACE": 1 << 23,
    "SLAB_ACCOUNT": 1 << 26,
    "SLAB_NO_USER_FLAGS": 1 << 28,
    "__CMPXCHG_DOUBLE": 1 << 30,
}


def bits_of(recording: Recording) -> dict[str, int]:
    """The recorded kernel's bits, by the names of its flags."""
    kernel = recording.slab_kernel
    if kernel.enumerated_flags:
        return _WITH_SHEAVES if recording.kernel.sheaves else _OUR_BITS
    return {name: bit for name, bit in _BY_HAND.items() if kernel.kmalloc_flag or name != "SLAB_KMALLOC"}


def ours(recording: Recording, flags: int) -> int:
    """kmsim's flags of a recorded mask."""
    bits = bits_of(recording)
    if bits is _OUR_BITS:
        return flags
    known = sum(_OUR_BITS[name] for name, bit in bits.items() if flags & bit)
    return known | (flags & ~sum(bits.values())) * _UNKNOWN


def theirs(recording: Recording, flags: int) -> int:
    """A mask of kmsim's as the recorded kernel has it."""
    bits = bits_of(recording)
    if bits is _OUR_BITS:
        return flags
    return sum(bit for name, bit in bits.items() if flags & _OUR_BITS[name])
