"""What is asked for: GFP flags with an order, or with a size in bytes.

A size becomes one block that is large enough, or as many single pages as it needs; both depend on
the machine's page size. Leaves out: slab objects, vmalloc (their allocators are not built yet).
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field

from kmsim.config.memory_map import GIB
from kmsim.config.quantities import Bool, Finding, Gfp, WithOptions, count, finding, number, size
from kmsim.units import format_size

WEIGHT_MAX = 10**9


class Bounds(NamedTuple):
    """What a workload has to know of its machine; None where that is broken."""

    cpus: int | None
    page_size: int | None
    max_page_order: int | None


class RequestConfig(WithOptions):
    """One kind of request, chosen with a probability proportional to its weight."""

    gfp: Gfp = "GFP_KERNEL"
    bytes: Annotated[int, size(1, GIB)] | None = None
    order: Annotated[int, count(0)] | None = Field(default_factory=lambda got: 0 if got["bytes"] is None else None)
    contiguous: Bool = True
    weight: Annotated[float, number(above=0, high=WEIGHT_MAX)] = 1.0

    @property
    def gfp_flags(self) -> int:
        """The flags as the kernel's bit mask."""
        from kmsim.mm.gfp import parse_gfp

        return parse_gfp(self.gfp)

    def order_on(self, page_size: int) -> int:
        """The order of each block that is asked for (kernel: get_order)."""
        if self.order is not None:
            return self.order
        return (self._nr_frames(page_size) - 1).bit_length() if self.contiguous else 0

    def nr_blocks(self, page_size: int) -> int:
        """How many blocks one request asks for: 1, or the single pages that hold its bytes."""
        return 1 if self.contiguous or self.bytes is None else self._nr_frames(page_size)

    def _nr_frames(self, page_size: int) -> int:
        assert self.bytes is not None, "a request has an order or bytes"
        return -(-self.bytes // page_size)

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this request, as far as no machine is needed to see it."""
        if self.bytes is not None and self.order is not None:
            yield finding(("order",), "left_out", key="bytes")
        elif self.bytes is None and not self.contiguous:
            yield finding(("contiguous",), "comes_with", what="bytes")
        elif self.order is None:
            yield from self._gfp_findings(0)
        else:
            yield from self._gfp_findings(self.order)

    def machine_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """What the machine cannot give, or why its kernel would warn."""
        most = bounds.max_page_order
        if self.bytes is None:
            if most is not None and self.order is not None and self.order > most:
                yield finding(("order",), "order_machine", limit=most)
        elif self.order is None and most is not None and bounds.page_size is not None:
            if self.order_on(bounds.page_size) > most:
                yield finding(("bytes",), "bytes_machine", limit=format_size(bounds.page_size << most))
            elif not any(self._gfp_findings(0)):
                yield from self._gfp_findings(self.order_on(bounds.page_size))

    def _gfp_findings(self, order: int) -> Iterator[Finding]:
        from kmsim.mm.gfp import gfp_problem

        why = gfp_problem(self.gfp_flags, order)
        if why is not None:
            found = None if gfp_problem(self.gfp_flags, 0) else f"{self.gfp!r} with order {order}"
            yield finding(("gfp",), "gfp_problem", found=found, why=why)
