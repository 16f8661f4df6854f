"""Each API's file: where a request's first stage stands, and what comes of it in the end.

    PAGES, LARGE    a block of pages; one of kmalloc     `sim.core.pages`
    SLAB            an object                            `sim.core.slab`
    EXACT           exact pages                          `sim.core.exact`
    BULK            pages in bulk                        `sim.core.bulk`
    VMALLOC         an area                              `sim.core.vmalloc`
    KVMALLOC        whichever of the three serves it     `sim.core.kvmalloc`
    FILE_READ       a page of a file                     `sim.core.file_read`
and what only a user's own process asks for:
    KREALLOC        an object made larger                `sim.core.krealloc`
    KVREALLOC       what kvmalloc gave made larger       `sim.core.kvrealloc`
    VMAP            an area over pages                   `sim.core.vmap`
    OBJECTS         objects in bulk                      `sim.core.objects`
    SHRINK          a cache shrunk                       `sim.core.cache_shrink`
    DESTROY         a cache destroyed                    `sim.core.cache_destroy`

Blocks of pages and objects, which are nearly all requests, are begun and ended without these tables
(`sim.core.operation`, `sim.core.outcome`). How a request goes on stands in `sim.core.verbs`. Leaves out what no
request asks for: drains and workers. Takes no lock.
"""

from kmsim.jit import core, only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.mmzone import NOPAGE
from kmsim.mm.vm_records import KV_VMALLOC
from kmsim.sim.core.bulk import begin_bulk, chain_got
from kmsim.sim.core.cache_destroy import begin_destroy
from kmsim.sim.core.cache_shrink import begin_shrink
from kmsim.sim.core.detail import kv_detail
from kmsim.sim.core.exact import begin_exact, exact_pages
from kmsim.sim.core.file_read import begin_read
from kmsim.sim.core.krealloc import begin_krealloc, resized_block, resized_detail
from kmsim.sim.core.kvmalloc import begin_kvfree, begin_kvmalloc, kv_block, kv_detail_of
from kmsim.sim.core.kvrealloc import begin_kvrealloc
from kmsim.sim.core.objects import begin_objects, first_object, nr_objects_got
from kmsim.sim.core.records import Core
from kmsim.sim.core.vmalloc import area_got, begin_vmalloc
from kmsim.sim.core.vmap import begin_vmap
from kmsim.workload.op_stream import FREE
from kmsim.workload.plan import EXACT, KVMALLOC, VMALLOC
from kmsim.workload.request import (
    BULK,
    DESTROY,
    FILE_READ,
    KREALLOC,
    KVREALLOC,
    OBJECTS,
    SHRINK,
    VMAP,
    is_of_users_only,
)


@core
def begin_other(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The first stage of a request that is neither for a block of pages nor for an object."""
    api = s.requests[s.runs[ac].request].api
    if api == EXACT:
        begin_exact(s, c, ac)
    elif api == BULK:
        begin_bulk(s, c, ac)
    elif api == FILE_READ:
        begin_read(s.m, s, c, ac)
    else:
        begin_with_vm(s, c, ac, api)


@only_with("vm")
def begin_with_vm(s: Core, c: CpuIdx, ac: ContextIdx, api: int) -> None:
    """The same for all that is compiled with vmalloc."""
    s.m.contexts[ac].failure = NOPAGE  # unless a request for pages says otherwise
    if s.runs[ac].kind == FREE and api != OBJECTS:
        begin_kvfree(s, c, ac)
    elif is_of_users_only(api):
        begin_of_users(s, c, ac, api)
    elif api == KVMALLOC:
        begin_kvmalloc(s, c, ac)
    else:
        assert api == VMALLOC, "a request that no stage knows"
        begin_vmalloc(s, c, ac)


@only_with("vm")
def begin_of_users(s: Core, c: CpuIdx, ac: ContextIdx, api: int) -> None:
    """The same for what only a user's own process asks for."""
    if api == KREALLOC:
        begin_krealloc(s, c, ac)
    elif api == KVREALLOC:
        begin_kvrealloc(s, c, ac)
    elif api == VMAP:
        begin_vmap(s, c, ac)
    elif api == OBJECTS:
        begin_objects(s, c, ac)
    elif api == SHRINK:
        begin_shrink(s, c, ac)
    else:
        assert api == DESTROY, "a request of a user's process that no stage knows"
        begin_destroy(s, c, ac)


@core
def block_and_detail(s: Core, ac: ContextIdx, api: int) -> tuple[int, int]:
    """The allocation handle, or NO_BLOCK, and what its free needs beside it (`sim.core.detail`).

    Not of a block of pages or an object. A cache that was shrunk or destroyed is handle 0: it is nothing to be freed.
    """
    if api == EXACT:
        return exact_pages(s, ac)
    if api == BULK:
        return chain_got(s, ac), 0
    if api in (KVMALLOC, KVREALLOC):
        return kv_block(s, ac), kv_detail_of(s, ac)
    if api in (VMALLOC, VMAP):
        return area_got(s, ac), kv_detail(KV_VMALLOC, 0)
    if api == KREALLOC:
        return resized_block(s, ac), resized_detail(s, ac)
    if api == OBJECTS:
        return first_object(s, ac), nr_objects_got(s, ac)
    return 0, 0
