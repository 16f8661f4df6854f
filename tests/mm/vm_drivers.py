"""vmalloc's operations on a machine where every lock is free, as Python calls them, and machines to run them on.

One compiled entry for all verbs: each entry that holds the slab and page allocators takes long to compile.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry
from kmsim.mm.kvmalloc import array_bytes, kvfree_begin, kvmalloc_begin, kvrealloc_begin
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import slab_build
from kmsim.mm.slab_kernels import MINALIGN, NEWEST_SLAB
from kmsim.mm.slub_records import Slub, new_slub
from kmsim.mm.vm_layout import Space, vmalloc_space
from kmsim.mm.vm_records import Vm, create_vm_caches, new_vm
from kmsim.mm.vm_recount import validate_vm
from kmsim.mm.vmalloc import (
    deferred_vfree_begin,
    vfree_atomic_begin,
    vfree_begin,
    vm_purge_begin,
    vm_resume,
    vmalloc_begin,
    vmalloc_user_begin,
    vmap_begin,
    vunmap_begin,
)
from kmsim.mm.wants import LOCK, MUTEX, NR_WANTS

from .machines import params_of, plain_machine

Waits = NDArray[np.int64]
(
    VMALLOC,
    VMALLOC_USER,
    VMAP,
    VFREE,
    VUNMAP,
    VFREE_ATOMIC,
    DEFERRED,
    PURGE,
    KVMALLOC,
    KVMALLOC_ARRAY,
    KVREALLOC,
    KVFREE,
    GO_ON,
) = range(13)
WAITS_MAX = 1_000_000
NOTHING = -NR_WANTS  # what a request waits for that is done


@core
def begin(m: Machine, sl: Slub, vm: Vm, ac: int, verb: int, what: tuple[int, int, int]) -> int:
    """Begin a request, or go on with one that waits."""
    if verb == GO_ON:
        return vm_resume(m, sl, vm, ac)
    if verb == VMALLOC:
        return vmalloc_begin(m, sl, vm, ac, what[0], what[1], what[2])
    if verb == VMALLOC_USER:
        return vmalloc_user_begin(m, sl, vm, ac, what[0])
    if verb == VMAP:
        return vmap_begin(m, sl, vm, ac, what[0])
    if verb == VFREE:
        return vfree_begin(m, sl, vm, ac, what[0])
    if verb == VUNMAP:
        return vunmap_begin(m, sl, vm, ac, what[0])
    if verb == VFREE_ATOMIC:
        return vfree_atomic_begin(m, vm, ac, what[0])
    if verb == DEFERRED:
        return deferred_vfree_begin(m, sl, vm, ac, what[0])
    if verb == PURGE:
        return vm_purge_begin(m, sl, vm, ac)
    if verb == KVMALLOC:
        return kvmalloc_begin(m, sl, vm, ac, what[0], what[1], what[2])
    if verb == KVMALLOC_ARRAY:
        return kvmalloc_begin(m, sl, vm, ac, -1, array_bytes(what[0], what[1]), what[2])
    if verb == KVREALLOC:
        return kvrealloc_begin(m, sl, vm, ac, what[0], what[1], what[2])
    return kvfree_begin(m, sl, vm, ac, what[0], what[1], what[2])


@entry
def run(m: Machine, sl: Slub, vm: Vm, ac: int, request: tuple[int, int, int, int], waits: Waits) -> int:
    """Run a request until it is done, or has waited as often as `waits` has room to say for what.

    That is the number of a lock, or below 0 what else it wants.
    """
    wanted = begin(m, sl, vm, ac, request[0], (request[1], request[2], request[3]))
    nr_waits = 0
    while wanted:
        context = m.contexts[ac]
        waits[nr_waits] = context.lock if wanted == LOCK else context.mutex if wanted == MUTEX else -wanted
        nr_waits += 1
        if nr_waits == len(waits):
            break
        wanted = vm_resume(m, sl, vm, ac)
    return nr_waits


@entry
def recount(m: Machine, vm: Vm) -> None:
    """Recount the address space; AssertionError where two records disagree."""
    validate_vm(m, vm)


class Ready(NamedTuple):
    """A machine with a slab and a vmalloc space."""

    m: Machine
    sl: Slub
    vm: Vm
    caches: Caches

    def request(self, ac: int, verb: int, *what: int) -> list[int]:
        """Run a whole request; what it waited for."""
        waits = np.zeros(WAITS_MAX, np.int64)
        nr_waits = run(self.m, self.sl, self.vm, ac, (verb, *_three(what)), waits)
        assert nr_waits < WAITS_MAX
        return waits[:nr_waits].tolist()

    def step(self, ac: int, verb: int, *what: int) -> int:
        """Run a request up to the first thing it waits for; that, or NOTHING where it is done."""
        waits = np.full(1, NOTHING)
        run(self.m, self.sl, self.vm, ac, (verb, *_three(what)), waits)
        return int(waits[0])

    def area(self, ac: int) -> int:
        """The area that the context's last request gave."""
        return int(self.vm.contexts[ac].area)

    def vmalloc(self, nr_bytes: int, *, ac: int = 0, gfp: int = 0xCC0, vm_flags: int = 0) -> int:
        """A whole vmalloc; the area or NO_AREA."""
        self.request(ac, VMALLOC, nr_bytes, gfp, vm_flags)
        return self.area(ac)

    def start(self, area: int) -> int:
        """Where an area begins, in pages from VMALLOC_START on."""
        return int(self.vm.vas[self.vm.areas[area].va].start - self.vm.params[0].start)

    def pfns(self, area: int) -> list[int]:
        """An area's pages, in order."""
        pfn, pfns = int(self.vm.areas[area].first_pfn), []
        while pfn >= 0:
            pfns.append(pfn)
            pfn = int(self.m.pages[pfn].next)
        return pfns


def _three(what: Sequence[int]) -> tuple[int, int, int]:
    """Three arguments, whichever of them the verb takes."""
    first, second, third = (*what, 0, 0, 0)[:3]
    return first, second, third


def ready(space: Space | None = None, nr_vmap_nodes: int | None = None, **changes: Any) -> Ready:
    """`plain_machine` with all of kmalloc's caches and an empty space."""
    m = plain_machine(**changes)
    params = params_of(m)
    caches = Caches(slab_build(params, NEWEST_SLAB, MINALIGN))
    create_vm_caches(caches)
    sl = new_slub(m, caches.geometries)
    vm = new_vm(
        m,
        caches,
        space=space or vmalloc_space("x86-64", params.page_shift),
        nr_list_locks=len(sl.cache_nodes),
        nr_nodes=nr_vmap_nodes,
        nr_areas=4000,
    )
    return Ready(m, sl, vm, caches)
