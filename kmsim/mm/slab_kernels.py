"""What kernel releases do differently where slab caches are created, one row each (see `mm.kernels`).

All of it is decided before a machine runs, in plain Python: the layout of a cache, which caches kmalloc has and which
of them others may join. How many partial slabs a CPU keeps is of `mm.kernels`, since compiled code asks for it.
Leaves out regions that user space may copy, with which a cache of older kernels joins no other. Invariant: the newest
release's row has all defaults. No locks.
"""

from typing import NamedTuple

from kmsim.mm.kernels import series_of

MINALIGN = 8  # ARCH_KMALLOC_MINALIGN of x86-64


class SlabKernel(NamedTuple):
    """What a release does; the defaults are those of 6.12."""

    fewer_objects: bool = False  # a slab that wastes much is made smaller before it may waste more (before 6.7)
    naturally_aligned: bool = True  # kmalloc-96 and -192 are aligned to what divides them (since 6.10)
    odd_sizes_first: bool = True  # kmalloc-96 and -192 are created before the powers of two (since 6.11)
    dma_odd_sizes_first: bool = True
    kmem_cache_size: int = 192  # bytes of struct kmem_cache, as recorded kernels have it
    arm64_minalign: int = 8  # ARCH_KMALLOC_MINALIGN there
    kmalloc_merges: bool = True  # other caches' objects may live in kmalloc's caches (since 6.3)
    enumerated_flags: bool = True  # a cache's flags are numbered by an enumeration (since 6.9)
    kmalloc_flag: bool = True  # kmalloc's own caches have a flag (since 6.1)
    accounted_kmalloc: bool = True  # a family of caches for __GFP_ACCOUNT (since 5.14)
    counts_present_cpus: bool = True  # a slab's objects follow the present CPUs, or all possible ones (before 5.12)

    def minalign(self, arch: str) -> int:
        """To how many bytes kmalloc aligns (kernel: ARCH_KMALLOC_MINALIGN)."""
        return self.arm64_minalign if arch == "arm64" else MINALIGN


LINUX_6_1 = SlabKernel(
    fewer_objects=True,
    naturally_aligned=False,
    odd_sizes_first=False,
    dma_odd_sizes_first=False,
    kmem_cache_size=200,
    arm64_minalign=128,
    kmalloc_merges=False,
    enumerated_flags=False,
)
LINUX_5_10 = LINUX_6_1._replace(
    dma_odd_sizes_first=True, kmalloc_flag=False, accounted_kmalloc=False, counts_present_cpus=False
)
NEWEST_SLAB = SlabKernel()
SLAB_KERNELS = {"5.10": LINUX_5_10, "6.1": LINUX_6_1, "6.12": NEWEST_SLAB, "7.3": NEWEST_SLAB}


def slab_kernel_of(release: str) -> SlabKernel:
    """What a release does where slab caches are created; as the newest where it is not built in."""
    return SLAB_KERNELS.get(series_of(release), NEWEST_SLAB)
