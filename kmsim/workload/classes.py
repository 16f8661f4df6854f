"""Classes: the requests by which the results of one request of the config are told apart.

A request for pages is one class. One for a size is one for each cache, and beyond kmalloc's caches for
each order, that its sizes lead to on the machine (kernel: kmalloc_index, get_order). A read of a file is one.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import GIB
from kmsim.config.requests import RequestConfig
from kmsim.config.sizes import DistributionOfSizes, ParetoSize, TableOfSizes, UniformSize
from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.slab_common import Caches
from kmsim.mm.slub_records import NO_CACHE
from kmsim.workload.file_pages import PagesOfFile
from kmsim.workload.request import BULK, EXACT, FILE_READ, KVMALLOC, LARGE, SLAB, VMALLOC, Request
from kmsim.workload.slab_caches import object_bytes

_APIS = {"exact": EXACT, "vmalloc": VMALLOC}


class Classes(NamedTuple):
    """The classes of one request of the config; several only where it has a distribution of sizes."""

    requests: tuple[Request, ...]
    most: tuple[int, ...]  # the largest number of each, ascending; one that is drawn is cut off at the last
    nr_blocks: int
    nr_bytes: int  # of each block; 0 where the size is drawn
    sizes: DistributionOfSizes | PagesOfFile | None  # of bytes, or of the number of a page; None: the size is fixed


def classes_of(
    config: RequestConfig, machine: MachineConfig, caches: Caches | None, first_pages: Mapping[str, int]
) -> Classes:
    """The classes of a request on a machine; `caches` may be None where the request needs none.

    `first_pages` has the number of each file's first page in the page cache.
    """
    gfp, page_size = config.gfp_flags, machine.page_size
    if config.file is not None:
        assert config.zipf is not None, "a read of a file has an exponent"
        pages = PagesOfFile(config.nr_file_pages(page_size), config.zipf)
        return Classes((Request(gfp, api=FILE_READ, file=first_pages[config.file]),), (pages.nr_pages,), 1, 0, pages)
    if config.cache is not None:
        assert caches is not None, "caches were created for it"
        nr_bytes = object_bytes(config.cache, caches, machine)
        return _one(Request(gfp, api=SLAB, cache=caches.index_of(config.cache)), nr_bytes)
    if config.api == "bulk":
        assert config.pages is not None, "a bulk has a number of pages"
        return _one(Request(gfp, api=BULK), config.pages * page_size)
    if config.api == "pages":
        order = config.order_on(page_size)
        nr_bytes = config.bytes if isinstance(config.bytes, int) and config.contiguous else page_size << order
        return _one(Request(gfp, order, nid=config.nid), nr_bytes, config.nr_blocks(page_size))
    sizes = config.sizes
    if isinstance(sizes, int):
        return _one(_class_of(config, sizes, page_size, caches), sizes)
    most = list(_steps(config, sizes, machine, caches))
    requests = [_class_of(config, size, page_size, caches) for size in most]
    last = [n for n, request in enumerate(requests) if n + 1 == len(most) or requests[n + 1] != request]
    return Classes(tuple(requests[n] for n in last), tuple(most[n] for n in last), 1, 0, sizes)


def _one(request: Request, nr_bytes: int, nr_blocks: int = 1) -> Classes:
    return Classes((request,), (nr_bytes,), nr_blocks, nr_bytes, None)


def _class_of(config: RequestConfig, size: int, page_size: int, caches: Caches | None) -> Request:
    """The class of one size."""
    gfp, order = config.gfp_flags, get_order(size, ilog2(page_size))
    if config.api in ("exact", "vmalloc"):
        return Request(gfp, order, _APIS[config.api], huge=int(config.huge), nid=config.nid)
    assert caches is not None, "caches were created for it"
    cache = caches.kmalloc_index(size, gfp)
    if config.api == "kvmalloc":
        return Request(gfp, order, KVMALLOC, NO_CACHE if cache is None else cache)
    return Request(gfp, order, LARGE) if cache is None else Request(gfp, 0, SLAB, cache)


def _steps(
    config: RequestConfig, sizes: DistributionOfSizes, machine: MachineConfig, caches: Caches | None
) -> Iterator[int]:
    """The sizes at which the class can change, each the last of its class, up to the largest that is drawn."""
    if isinstance(sizes, TableOfSizes):
        yield from sorted({entry.size for entry in sizes.table})
        return
    is_virtual = config.api in ("vmalloc", "kvmalloc")
    low, high = 1, GIB if is_virtual else min(GIB, machine.page_size << machine.max_page_order)
    if isinstance(sizes, UniformSize):
        low, high = sizes.uniform.low, sizes.uniform.high
    elif isinstance(sizes, ParetoSize):
        low = sizes.pareto.least
    while low <= high:
        top = min(_roundup(low, config, machine.page_size, caches), high)
        yield top
        low = top + 1


def _roundup(size: int, config: RequestConfig, page_size: int, caches: Caches | None) -> int:
    """The largest size that the same cache, or a block of the same order, can serve."""
    if config.api in ("kmalloc", "kvmalloc"):
        assert caches is not None, "caches were created for it"
        if caches.kmalloc_index(size, 0) is not None:
            return caches.kmalloc_size_roundup(size)
    return page_size << get_order(size, ilog2(page_size))
