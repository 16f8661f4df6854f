"""One request, and the allocator that serves it: pages by order or size, kmalloc, an object of a cache, vmalloc.

Sizes become orders, caches or single pages, which all depend on the machine; what it cannot give, or
what its kernel would warn of, is refused here. Leaves out: how the caches are laid out (``caches``).
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from kmsim.config.errors import nearest
from kmsim.config.quantities import Bool, Finding, Gfp, Name, WithOptions, count, finding, number
from kmsim.config.sizes import WEIGHT_MAX, ConstantSize, DistributionOfSizes, Sizes, written_sizes
from kmsim.mm.getorder import get_order, ilog2
from kmsim.units import format_size

BULK_MAX = 512

# What comes with each allocator, and what does not.
_NEEDS: dict[str, str] = dict.fromkeys(("kmalloc", "exact", "vmalloc", "kvmalloc"), "bytes") | {"bulk": "pages"}
_MAY_HAVE = {"pages": ("order", "bytes"), "vmalloc": ("bytes", "huge")}


class Bounds(NamedTuple):
    """The limits that a machine sets; None where a key is broken. `memory` and `largest_block` are bytes.

    `caches` has the names of all caches that there can be, and whether objects of theirs have a constructor.
    `node_memory` says which nodes have memory; it is empty where the kernel is built without NUMA.
    """

    cpus: int | None
    page_size: int | None = None
    max_page_order: int | None = None
    largest_block: int | None = None
    memory: int | None = None
    caches: dict[str, bool] | None = None
    node_memory: tuple[bool, ...] | None = None


class RequestConfig(WithOptions):
    """One kind of request, chosen with a probability proportional to its weight."""

    cache: Name | None = None
    api: Literal["pages", "kmalloc", "exact", "vmalloc", "kvmalloc", "bulk"] | None = Field(
        default_factory=lambda got: "pages" if got["cache"] is None else None
    )
    gfp: Gfp = "GFP_KERNEL"
    zero: Bool = False
    bytes: Sizes | None = None
    pages: Annotated[int, count(1, BULK_MAX)] | None = None
    order: Annotated[int, count(0)] | None = Field(
        default_factory=lambda got: 0 if got["api"] == "pages" and got["bytes"] is None else None
    )
    contiguous: Bool = True
    huge: Bool = False
    weight: Annotated[float, number(above=0, high=WEIGHT_MAX)] = 1.0

    @property
    def gfp_flags(self) -> int:
        """The flags as the kernel's bit mask."""
        from kmsim.mm.gfp import GFP_ZERO, parse_gfp

        return parse_gfp(self.gfp) | (GFP_ZERO if self.zero else 0)

    @property
    def sizes(self) -> int | DistributionOfSizes:
        """The bytes asked for, if the request is for bytes."""
        assert self.bytes is not None, "a request for bytes"
        assert not isinstance(self.bytes, ConstantSize), "resolved to its size"
        return self.bytes

    @property
    def needs_caches(self) -> bool:
        """Do slab caches decide which allocator serves it?"""
        return self.cache is not None or self.api in ("kmalloc", "vmalloc", "kvmalloc")

    def order_on(self, page_size: int) -> int:
        """The order of each block of a request for pages (kernel: get_order)."""
        if self.order is not None:
            return self.order
        assert isinstance(self.bytes, int), "a request for pages has an order or one size"
        return get_order(self.bytes, ilog2(page_size)) if self.contiguous else 0

    def nr_blocks(self, page_size: int) -> int:
        """How many blocks one request asks for: 1, or the single pages that hold its bytes."""
        return 1 if self.contiguous or not isinstance(self.bytes, int) else -(-self.bytes // page_size)

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this request, as far as no machine is needed to see it."""
        wrong = list(self._key_findings())
        yield from wrong
        if not wrong:
            yield from self._gfp_findings(self.order or 0)

    def machine_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """What the machine cannot give, or why its kernel would warn."""
        if any(self._key_findings()):
            return
        if self.cache is not None:
            yield from self._cache_findings(self.cache, bounds)
        elif self.order is not None:
            if bounds.max_page_order is not None and self.order > bounds.max_page_order:
                yield finding(("order",), "order_machine", limit=bounds.max_page_order)
        elif self.bytes is not None and bounds.page_size is not None:
            large = list(self._size_findings(bounds))
            yield from large
            if not large and not any(self._gfp_findings(0)):
                yield from self._gfp_findings(self._largest_order(bounds.page_size))

    def _key_findings(self) -> Iterator[Finding]:
        """Keys that go with another allocator, or that are missing."""
        given = [key for key in ("bytes", "order", "pages") if getattr(self, key) is not None]
        given += ["huge"] if self.huge else []
        if self.cache is not None:
            for key in (*(["api"] if self.api is not None else []), *given):
                yield finding((key,), "left_out", key="cache")
        elif self.api is not None:
            needed = _NEEDS.get(self.api)
            if needed is not None and needed not in given:
                yield finding(("api",), "comes_with", what=needed)
            for key in given:
                if key not in _MAY_HAVE.get(self.api, (needed,)):
                    yield finding((key,), "api_key", api=self.api)
        if self.api == "pages":
            if self.bytes is not None and self.order is not None:
                yield finding(("order",), "left_out", key="bytes")
            elif self.bytes is not None and not isinstance(self.bytes, int):
                yield finding(("bytes",), "one_size")
            elif self.bytes is None and not self.contiguous:
                yield finding(("contiguous",), "comes_with", what="bytes")
        elif not self.contiguous:
            yield finding(("contiguous",), "comes_with", what="api: pages")

    def _cache_findings(self, name: str, bounds: Bounds) -> Iterator[Finding]:
        from kmsim.mm.gfp import GFP_ZERO

        if bounds.caches is None:
            return
        if name not in bounds.caches:
            yield finding(("cache",), "cache_unknown", near=nearest(name, bounds.caches))
        elif bounds.caches[name] and self.gfp_flags & GFP_ZERO:
            yield finding(("zero",) if self.zero else ("gfp",), "cache_zeroed")

    def _size_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """Sizes beyond what the allocator can give."""
        if self.api == "kvmalloc" or not self.contiguous:
            return
        rule = {"vmalloc": "bytes_vmalloc", "kmalloc": "bytes_kmalloc"}.get(self.api or "", "bytes_machine")
        limit = bounds.memory if self.api == "vmalloc" else bounds.largest_block
        for where, size in written_sizes(self.sizes):
            if limit is not None and size > limit:
                yield finding(("bytes", *where), rule, limit=format_size(limit))

    def _largest_order(self, page_size: int) -> int:
        """The largest block that this request makes sure to ask the page allocator for."""
        if self.api == "pages":
            return self.order_on(page_size)
        if self.api not in ("kmalloc", "exact"):
            return 0
        return max(get_order(size, ilog2(page_size)) for _, size in written_sizes(self.sizes))

    def _gfp_findings(self, order: int) -> Iterator[Finding]:
        from kmsim.mm.gfp import GFP_COMP, GFP_DMA32, GFP_HIGHMEM, gfp_problem

        gfp = self.gfp_flags
        why = gfp_problem(gfp, order)
        if why is not None:
            found = None if gfp_problem(gfp, 0) else f"{self.gfp!r} with order {order}"
            yield finding(("gfp",), "gfp_problem", found=found, why=why)
        elif self.api in (None, "kmalloc", "kvmalloc") and gfp & (GFP_DMA32 | GFP_HIGHMEM):
            yield finding(("gfp",), "gfp_slab")
        elif self.api == "exact" and gfp & (GFP_COMP | GFP_HIGHMEM):
            yield finding(("gfp",), "gfp_exact")
