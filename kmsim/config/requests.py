"""One request, and what serves it: pages by order or size, kmalloc, an object of a cache, vmalloc, the page cache.

Sizes become orders, caches or single pages, which all depend on the machine; what it cannot give, or
what its kernel would warn of, is refused here. Leaves out: how the caches are laid out (``caches``).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from kmsim.config.errors import nearest
from kmsim.config.quantities import Bool, Finding, Gfp, Name, WithOptions, count, finding, number, refused, size
from kmsim.config.sizes import WEIGHT_MAX, ConstantSize, DistributionOfSizes, Sizes, written_sizes
from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.mmzone import NR_NODES_MAX, NUMA_NO_NODE
from kmsim.units import format_size

BULK_MAX = 512
FILE_MAX = 16 << 40
FILE_PAGES_MAX = 1 << 27  # of all files; the page cache keeps 8 bytes for each
ZIPF_PAGES_MAX = 1 << 26  # each takes up to 16 bytes while pages are drawn
ZIPF_MAX = 4.0  # assumed: 92 % of all reads are then of the first page
FILE_GFP = "GFP_HIGHUSER_MOVABLE"  # kernel: inode_init_always_gfp; mapping_gfp_mask

# What comes with each allocator, and what does not.
_NEEDS: dict[str, str] = dict.fromkeys(("kmalloc", "exact", "vmalloc", "kvmalloc"), "bytes") | {
    "bulk": "pages",
    "file_read": "file_size",
}
_MAY_HAVE = {
    "pages": ("order", "bytes", "node"),
    "exact": ("bytes", "node"),
    "vmalloc": ("bytes", "huge"),
    "file_read": ("file", "file_size", "zipf"),
}


def _known_api(value: Any) -> Any:
    if value == "cma_alloc":
        raise refused("api_cma")
    return value


Api = Annotated[
    Literal["pages", "kmalloc", "exact", "vmalloc", "kvmalloc", "bulk", "file_read"], BeforeValidator(_known_api)
]


class Bounds(NamedTuple):
    """The limits that a machine sets; None where a key is broken. `memory` and `largest_block` are bytes.

    `caches` has the names of all caches that there can be, and whether objects of theirs have a constructor.
    `node_memory` says which nodes have memory; it is empty where the kernel is built without NUMA. `largest_order` is
    `max_page_order` in the words of a message.
    `has_sheaves`: CPUs keep free objects in sheaves.
    """

    cpus: int | None
    page_size: int | None = None
    max_page_order: int | None = None
    largest_block: int | None = None
    memory: int | None = None
    caches: dict[str, bool] | None = None
    node_memory: tuple[bool, ...] | None = None
    largest_order: str = ""
    has_sheaves: bool = False


class RequestConfig(WithOptions):
    """One kind of request, chosen with a probability proportional to its weight."""

    cache: Name | None = None
    api: Api | None = Field(default_factory=lambda got: "pages" if got["cache"] is None else None)
    gfp: Gfp = Field(default_factory=lambda got: FILE_GFP if got["api"] == "file_read" else "GFP_KERNEL")
    zero: Bool = False
    bytes: Sizes | None = None
    pages: Annotated[int, count(1, BULK_MAX)] | None = None
    order: Annotated[int, count(0)] | None = Field(
        default_factory=lambda got: 0 if got["api"] == "pages" and got["bytes"] is None else None
    )
    contiguous: Bool = True
    huge: Bool = False
    node: Annotated[int, count(0, NR_NODES_MAX - 1)] | None = None
    file: Name | None = Field(default_factory=lambda got: "file" if got["api"] == "file_read" else None)
    file_size: Annotated[int, size(1, FILE_MAX)] | None = None
    zipf: Annotated[float, number(low=0, high=ZIPF_MAX)] | None = Field(
        default_factory=lambda got: 0.0 if got["api"] == "file_read" else None
    )
    weight: Annotated[float, number(above=0, high=WEIGHT_MAX)] = 1.0

    @property
    def gfp_flags(self) -> int:
        """The flags as the kernel's bit mask."""
        from kmsim.mm.gfp import GFP_ZERO, parse_gfp

        return parse_gfp(self.gfp) | (GFP_ZERO if self.zero else 0)

    @property
    def nid(self) -> int:
        """The node that it is asked of; NUMA_NO_NODE where none is named."""
        return NUMA_NO_NODE if self.node is None else self.node

    @property
    def sizes(self) -> int | DistributionOfSizes:
        """The bytes asked for, if the request is for bytes."""
        assert self.bytes is not None, "a request for bytes"
        assert not isinstance(self.bytes, ConstantSize), "resolved to its size"
        return self.bytes

    @property
    def reads_file(self) -> bool:
        """Does it read a page of a file through the page cache?"""
        return self.api == "file_read"

    def nr_file_pages(self, page_size: int) -> int:
        """The pages of the file that it reads; the last may be one in part."""
        assert self.file_size is not None, "a read of a file"
        return -(-self.file_size // page_size)

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
        if bounds.has_sheaves and self.needs_caches:
            yield finding(("api",) if self.cache is None else ("cache",), "sheaves")
        last = max(len(bounds.node_memory or ()) - 1, 0)
        if bounds.node_memory is not None and self.node is not None and self.node > last:
            yield finding(("node",), "node_machine", last=last)
        if self.cache is not None:
            yield from self._cache_findings(self.cache, bounds)
        elif self.order is not None:
            if bounds.max_page_order is not None and self.order > bounds.max_page_order:
                yield finding(("order",), "order_machine", limit=bounds.largest_order)
        elif self.file_size is not None and bounds.page_size is not None:
            yield from self._file_findings(bounds.page_size)
        elif self.bytes is not None and bounds.page_size is not None:
            large = list(self._size_findings(bounds))
            yield from large
            if not large and not any(self._gfp_findings(0)):
                yield from self._gfp_findings(self._largest_order(bounds.page_size))

    def _key_findings(self) -> Iterator[Finding]:
        """Keys that go with another allocator, or that are missing."""
        keys = ("bytes", "order", "pages", "node", "file", "file_size", "zipf")
        given = [key for key in keys if getattr(self, key) is not None]
        given += ["huge"] if self.huge else []
        given += ["zero"] if self.zero and self.reads_file else []
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

    def _file_findings(self, page_size: int) -> Iterator[Finding]:
        """Files of less than a page, or of more pages than can be told apart."""
        nr_pages, most = self.nr_file_pages(page_size), ZIPF_PAGES_MAX if self.zipf else FILE_PAGES_MAX
        if self.file_size is not None and self.file_size < page_size:
            yield finding(("file_size",), "at_least", limit=format_size(page_size))
        elif nr_pages > most:
            yield finding(("file_size",), "file_pages_zipf" if self.zipf else "file_pages", limit=most)

    def _size_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """Sizes beyond what the allocator can give."""
        if self.api == "kvmalloc" or not self.contiguous:
            return
        rule = {"vmalloc": "bytes_vmalloc", "kmalloc": "bytes_kmalloc"}.get(self.api or "", "bytes_machine")
        limit = bounds.memory if self.api == "vmalloc" else bounds.largest_block
        for where, nr_bytes in written_sizes(self.sizes):
            if limit is not None and nr_bytes > limit:
                yield finding(("bytes", *where), rule, limit=format_size(limit))

    def _largest_order(self, page_size: int) -> int:
        """The largest block that this request makes sure to ask the page allocator for."""
        if self.api == "pages":
            return self.order_on(page_size)
        if self.api not in ("kmalloc", "exact"):
            return 0
        return max(get_order(nr_bytes, ilog2(page_size)) for _, nr_bytes in written_sizes(self.sizes))

    def _gfp_findings(self, order: int) -> Iterator[Finding]:
        from kmsim.mm.gfp import GFP_COMP, GFP_DIRECT_RECLAIM, GFP_DMA32, GFP_HIGHMEM, gfp_problem

        gfp = self.gfp_flags
        why = gfp_problem(gfp, order)
        if why is not None:
            found = None if gfp_problem(gfp, 0) else f"{self.gfp!r} with order {order}"
            yield finding(("gfp",), "gfp_problem", found=found, why=why)
        elif self.api in (None, "kmalloc", "kvmalloc") and gfp & (GFP_DMA32 | GFP_HIGHMEM):
            yield finding(("gfp",), "gfp_slab")
        elif self.api == "exact" and gfp & (GFP_COMP | GFP_HIGHMEM):
            yield finding(("gfp",), "gfp_exact")
        elif self.reads_file and not gfp & GFP_DIRECT_RECLAIM:
            yield finding(("gfp",), "gfp_file_read")
