"""Slab caches by name: what kmem_cache_create is asked for, and the kernel's usual ones that ship as a file.

A user's cache is one entry of a list; one that has the name of a shipped cache takes its place. Leaves
out: debugging flags, user-copy regions, and which caches merge (``kmsim.mm.slab_common`` decides).
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator

from kmsim.config.memory_map import GIB, Arch
from kmsim.config.node import Problems
from kmsim.config.quantities import Finding, Name, SomeText, Time, WithOptions, count, finding, refused, size
from kmsim.config.shipped import configs_folder
from kmsim.config.yaml_file import read_file
from kmsim.mm.slab_common import BUCKETS
from kmsim.mm.slab_geometry import WORD, SlabBuild, SlabError, new_geometry, slab_flags
from kmsim.units import format_size

CACHES_FILE = "caches.yaml"
# Names that only the boot gives; the buckets' even where the machine is built without them.
KERNELS_OWN = ("kmem_cache", "kmem_cache_node", "kmalloc_buckets")
KERNELS_PREFIXES = ("kmalloc-", "dma-kmalloc-", *(f"{name}-" for name in BUCKETS))
CPU_PARTIAL_MAX = 1 << 20  # assumed: the kernel takes any number of objects

SlabFlag = Literal[
    "HWCACHE_ALIGN",
    "TYPESAFE_BY_RCU",
    "ACCOUNT",
    "RECLAIM_ACCOUNT",
    "NO_MERGE",
    "CACHE_DMA",
    "CACHE_DMA32",
    "PANIC",
]


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise refused("power_of_two")
    return value


class Creation(TypedDict):
    """What `Caches.create` takes by keyword; bytes, and flags as a mask."""

    align: int
    flags: int
    has_ctor: bool
    freeptr_offset: int | None


class CacheConfig(WithOptions):
    """One cache; ``constructor`` is the price of running it on one object, and without it there is none."""

    name: Name
    arch: Arch | None = None
    object_size: Annotated[int, size(1, GIB)]
    align: Annotated[int, size(1, GIB), AfterValidator(_power_of_two)] | None = None
    flags: tuple[SlabFlag, ...] = ()
    freeptr_offset: Annotated[int, size(0, GIB)] | None = None
    constructor: Time | None = None
    cpu_partial: Annotated[int, count(0, CPU_PARTIAL_MAX)] | None = None
    source: SomeText | None = None

    @property
    def creation(self) -> Creation:
        """What it is created with, beside its name and object size."""
        return Creation(
            align=self.align or 0,
            flags=slab_flags(self.flags),
            has_ctor=self.constructor is not None,
            freeptr_offset=self.freeptr_offset,
        )

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this cache."""
        if self.name in KERNELS_OWN or self.name.startswith(KERNELS_PREFIXES):
            yield finding(("name",), "cache_of_kernel")
        if self.freeptr_offset is None:
            return
        if "TYPESAFE_BY_RCU" not in self.flags:
            yield finding(("freeptr_offset",), "comes_with", needs=("flags",), what="the flag TYPESAFE_BY_RCU")
        elif self.freeptr_offset >= self.object_size or self.freeptr_offset % WORD:
            yield finding(("freeptr_offset",), "freeptr_inside", needs=("object_size",), word=format_size(WORD))

    def machine_findings(self, build: SlabBuild) -> Iterator[Finding]:
        """What the machine cannot give: slabs that are large enough."""
        if any(self.findings()):
            return
        try:
            new_geometry(build, self.name, self.object_size, **self.creation)
        except SlabError:
            limit = format_size(build.largest_slab)
            yield finding(("object_size",), "cache_slab", needs=("align", "flags", "constructor"), limit=limit)


def caches_findings(caches: Iterable[CacheConfig]) -> Iterator[Finding]:
    """What is wrong between caches: two of a name must be the same cache; locations are places in the list."""
    first: dict[str, tuple[int, Creation, int | None]] = {}
    for n, config in enumerate(caches):
        asked = (config.object_size, config.creation, config.cpu_partial)
        if first.setdefault(config.name, asked) != asked:
            yield finding((n, "name"), "cache_twice")


@cache
def shipped_caches(arch: Arch) -> dict[str, CacheConfig]:
    """The kernel's usual caches on an architecture, by name, in the order of the file."""
    problems = Problems()
    path = configs_folder() / CACHES_FILE
    entries = read_file(path, str(path), problems).python()["caches"]
    problems.stop()
    configs = [CacheConfig.model_validate(entry) for entry in entries]
    return {config.name: config for config in configs if config.arch in (None, arch)}
