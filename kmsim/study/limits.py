"""How much one request can give, by each way to ask, and what sets that limit.

On paper it is the kernel's formulas (KMALLOC_MAX_SIZE and its kin, INT_MAX, the memory that there is). What is given
now a simulated machine in its first state says, which is asked order by order; of vmalloc it is the pages above the
min watermark, less those that its own records take. Each question finds that first state. Leaves out what reclaim and
compaction could still free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kmsim.config import MachineConfig, Study, from_mapping, load
from kmsim.config.asked import asked_file
from kmsim.config.machine import PAGE_SIZES
from kmsim.config.machine_params import slab_build_of
from kmsim.config.orders import largest_order_in_words, section_bits
from kmsim.mm.getorder import ilog2
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_DMA, GFP_DMA32, parse_gfp
from kmsim.mm.kernels import NEWEST
from kmsim.mm.limits import INT_MAX
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, WMARK_MIN, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.snapshot import copy_machine
from kmsim.mm.vm_records import POINTER_BYTES
from kmsim.mm.watermark import nr_kept_highatomic
from kmsim.sim.core.ask import can_allocate, can_kmalloc
from kmsim.sim.run.boot import machine_of
from kmsim.units import format_size

SEED = 1
NO_ORDER = -1  # of no block
ANY_THREAD = {"threads": [{"name": "nobody"}]}  # a study has a workload; nothing of it runs here


class FormulaRow(NamedTuple):
    """The limits of one kernel by the formula, in bytes; what a machine with memory enough gives."""

    page_size: int
    max_page_order: int
    thp: bool
    kmalloc_max_size: int
    kmalloc_max_cache_size: int
    kmalloc_max_order: int

    @property
    def max_order_before_6_4(self) -> int:
        """The value of MAX_ORDER that means the same before Linux 6.4, where it was exclusive."""
        return self.max_page_order + 1


class ApiLimit(NamedTuple):
    """The largest request that one API can serve, in bytes: on paper, and now; `now` may be 0."""

    api: str
    on_paper: int
    now: int
    sets_it: str
    use_instead: str


class LimitRow(NamedTuple):
    """The limits of one machine: by the formula, and what each API gives now to a request with these flags."""

    machine: str
    formula: FormulaRow
    gfp: str
    apis: tuple[ApiLimit, ...]
    series: int = NEWEST.series  # the release, as 6012

    @property
    def largest_success(self) -> int:
        """Bytes of the largest kmalloc that succeeds now; may be 0."""
        return self.apis[0].now

    @property
    def why(self) -> str:
        """Why no larger one does."""
        return self.apis[0].sets_it

    def as_dict(self) -> dict[str, Any]:
        """All fields side by side."""
        answer = {"gfp": self.gfp, "largest_success": self.largest_success, "why": self.why}
        return {"machine": self.machine, **self.formula._asdict(), **answer, "apis": [a._asdict() for a in self.apis]}


def study_named(name: str, sets: Sequence[str], *, command: str, argument: str) -> Study:
    """The study of that file, or one on that machine in which nobody does anything; with overrides."""
    file = asked_file("machines", name, command=command, argument=argument)
    if "machine" in _keys(file):
        return load(file, sets)
    return from_mapping({"machine": str(file), "workload": ANY_THREAD}, sets)


def _keys(path: Path) -> set[str]:
    """The top-level keys of a file; of one that cannot be read, `machine`, so that loading it says what is wrong."""
    from kmsim.config.errors import ConfigError
    from kmsim.config.node import Problems
    from kmsim.config.yaml_file import read_file

    try:
        return set(read_file(path, str(path), Problems()).keys)
    except ConfigError:
        return {"machine"}


def every_machine(memory: str = "4GiB") -> Iterator[MachineConfig]:
    """A machine for each page size and each order that the kernel can be built with."""
    for page_size in PAGE_SIZES:
        arch = "x86-64" if page_size == PAGE_SIZES[0] else "arm64"
        page_shift = ilog2(page_size)
        largest = section_bits(arch, page_size) - page_shift  # type: ignore[arg-type]
        for order in range(PAGE_ALLOC_COSTLY_ORDER, largest + 1):
            config = {
                "name": f"{arch}-{format_size(page_size)}",
                "arch": arch,
                "page_size": format_size(page_size),
                "max_page_order": order,
                "memory": memory,
                "cpus": 4,
                "thp": {"built_in": order >= page_shift - 3},
            }
            yield from_mapping({"machine": config, "workload": ANY_THREAD}).machine


def formula_of(config: MachineConfig) -> FormulaRow:
    """The limits that follow from how a machine's kernel is built."""
    found = Caches(slab_build_of(config)).limits
    sizes = found.kmalloc_max_size, found.kmalloc_max_cache_size, found.kmalloc_max_order
    return FormulaRow(config.page_size, config.max_page_order, config.thp.built_in, *sizes)


def limits_of(config: MachineConfig, gfp: str = "GFP_KERNEL") -> LimitRow:
    """The limits of a machine for requests with these flags, what is given now asked of it."""
    m, caches = machine_of(config, SEED), Caches(slab_build_of(config))
    flags = parse_gfp(gfp)
    block = config.page_size << config.max_page_order
    of_slab = _blocks(m, config, lambda order: can_kmalloc(copy_machine(m), caches, config.page_size << order, flags))
    of_pages = _blocks(m, config, lambda order: can_allocate(copy_machine(m), order, flags))
    area = _vmalloc_limit(m, config, flags)
    may_map = area.now > 0
    rows = (
        ApiLimit("kmalloc", block, *of_slab, "kvmalloc" if may_map else "-"),
        ApiLimit("alloc_pages", block, *of_pages, "vmalloc" if may_map else "-"),
        ApiLimit("alloc_pages_exact", block, *of_pages, "vmalloc" if may_map else "-"),
        area,
        _kvmalloc_limit(of_slab[0], area, config.page_size),
    )
    return LimitRow(config.name, formula_of(config), gfp, rows, int(m.params[0].series))


def _blocks(m: Machine, config: MachineConfig, is_given: Callable[[int], bool]) -> tuple[int, str]:
    """Bytes of the largest block that is given now, and what sets that."""
    orders = range(config.max_page_order, -1, -1)
    order = next((order for order in orders if is_given(order)), NO_ORDER)
    return (config.page_size << order if order >= 0 else 0), reason(m, order)


def reason(m: Machine, order: int) -> str:
    """Why the next order fails."""
    if order == m.params[0].max_page_order:
        return largest_order_in_words(order, int(m.params[0].series))
    if np.any(m.zones["nr_free"][:, order + 1 :]):
        return "watermarks"
    return f"no free block of order {order + 1}"


def _vmalloc_limit(m: Machine, config: MachineConfig, flags: int) -> ApiLimit:
    """vmalloc refuses more pages than there are, and takes them one by one; each costs an entry of two tables."""
    on_paper = int(m.zones["managed_pages"].sum()) * config.page_size
    if not flags & GFP_DIRECT_RECLAIM:
        return ApiLimit("vmalloc", on_paper, 0, "flags forbid to sleep", "kmalloc")
    nr_pages = free_above_min(m, flags) * config.page_size // (config.page_size + 2 * POINTER_BYTES)
    return ApiLimit("vmalloc", on_paper, nr_pages * config.page_size, "the min watermark", "-")


def _kvmalloc_limit(by_kmalloc: int, area: ApiLimit, page_size: int) -> ApiLimit:
    """kvmalloc is kmalloc, and from more than a page on vmalloc where that fails, up to INT_MAX."""
    on_paper = min(INT_MAX, area.on_paper)
    if not area.now:
        return ApiLimit("kvmalloc", on_paper, by_kmalloc, "flags forbid vmalloc", "-")
    if area.now >= INT_MAX:
        return ApiLimit("kvmalloc", on_paper, INT_MAX, "INT_MAX", "vmalloc")
    now = max(area.now, by_kmalloc, page_size)
    return ApiLimit("kvmalloc", on_paper, now, area.sets_it, area.use_instead)


def free_above_min(m: Machine, flags: int) -> int:
    """Pages that requests for one page each can still take (kernel: __zone_watermark_ok, ALLOC_WMARK_MIN)."""
    highest = ZONE_DMA if flags & GFP_DMA else ZONE_DMA32 if flags & GFP_DMA32 else ZONE_NORMAL
    found = 0
    for z, zone in enumerate(m.zones):
        if zone.zone_type <= highest and zone.present_pages:
            mark = int(zone.watermark[WMARK_MIN] + zone.watermark_boost + zone.lowmem_reserve[highest])
            found += max(int(zone.nr_free_pages) - nr_kept_highatomic(m, z) - mark, 0)
    return found
