"""Sheaves' records: free objects that CPUs and nodes keep (kernel: struct slab_sheaf, slub_percpu_sheaves, node_barn).

Words, here and in every `sheaf` module:
    sheaf       an array of free objects of one cache; objects are added and taken at its end
    main        the sheaf from which a CPU allocates and to which it frees; `spare` is its second one, full or empty
    barn        a node's full and empty sheaves of a cache, two lists to whose heads is added, and from which is taken
    prefilled   a sheaf that its user has for itself: it holds as many objects as were asked for, or more

A slab counts the objects of sheaves as in use. Such an object's link is IN_USE and IN_SHEAF, and the number of the CPU
that had it last, so that a double free is found in one step. A sheaf is recycled when it is freed, among those of its
cache; one that is larger than its cache's, among all of these. Memory: 16 bytes a sheaf, and 4 for each place of it.

Leaves out the memory that sheaves take themselves (kmalloc's), and rcu_free sheaves. Invariant: every object of a sheaf
is allocated as its slab sees it, and in no other sheaf. Lock order: see `mm.sheaf`. No field may be named as an
attribute of np.record.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record
from kmsim.mm.slab_geometry import Geometry

NO_SHEAF = -1
IN_SHEAF = 0x4000  # of the link of an object that lies in a sheaf; so there are at most this many CPUs
MAX_FULL_SHEAVES = 10
SHEAVES_PER_CPU = 3  # main, spare, and one under way
EMPTY_PER_NODE = 20  # assumed: a barn never has more; no sheaf is made while it has one
PREFILLED_MAX = 256  # objects of a sheaf of one's own (assumed: the kernel's callers ask for 64 and less)

sheaf_t = np.dtype(
    (
        Record,
        [
            ("first", np.int32),  # its first place in `objects`
            ("nr_objects", np.int32),  # kernel: size
            ("capacity", np.int32),
            ("next", np.int32),  # in the barn's list that it is on, or among the recycled
        ],
    )
)
cpu_sheaves_t = np.dtype(
    (
        Record,
        [
            ("main", np.int32),
            ("spare", np.int32),
            ("locked", np.int32),  # has a request that is under way its local lock?
            ("alloc_fastpath", np.int64),
            ("free_fastpath", np.int64),
        ],
    )
)
barn_t = np.dtype(
    (
        Record,
        [
            ("full_first", np.int32),
            ("nr_full", np.int32),
            ("empty_first", np.int32),
            ("nr_empty", np.int32),
        ],
    )
)
# Of each cache; from sheaf_flush on: CONFIG_SLUB_STATS.
cache_sheaves_t = np.dtype(
    (
        Record,
        [
            ("capacity", np.int64),
            ("recycled", np.int64),
            ("sheaf_flush", np.int64),
            ("sheaf_refill", np.int64),
            ("sheaf_alloc", np.int64),
            ("sheaf_free", np.int64),
            ("barn_get", np.int64),
            ("barn_get_fail", np.int64),
            ("barn_put", np.int64),
            ("barn_put_fail", np.int64),
            ("sheaf_prefill_fast", np.int64),
            ("sheaf_prefill_slow", np.int64),
            ("sheaf_prefill_oversize", np.int64),
            ("sheaf_return_fast", np.int64),
            ("sheaf_return_slow", np.int64),
        ],
    )
)
sheaf_params_t = np.dtype(
    (
        Record,
        [
            ("nr_sheaves_used", np.int64),  # of `sheaves`, recycled ones among them
            ("nr_places_used", np.int64),  # of `objects`
            ("oversize", np.int64),  # the first of the recycled sheaves that are larger than their cache's
        ],
    )
)


class Sheaves(NamedTuple):
    """All sheaves of a machine, and where they are."""

    sheaves: NDArray[np.void]
    objects: NDArray[np.int32]
    cpus: NDArray[np.void]  # indexed by `cpu_slab_index`
    barns: NDArray[np.void]  # indexed by `cache_node_index`
    caches: NDArray[np.void]  # indexed by the cache's number
    params: NDArray[np.void]


NO_SHEAVES = cast(Sheaves, None)


def new_sheaves(geometries: Sequence[Geometry], nr_cpus: int, nr_nodes: int, nr_prefilled: int = 0) -> Sheaves:
    """Empty main sheaves of every CPU, and empty barns; `nr_prefilled`: sheaves that users may have at once."""
    assert nr_cpus <= IN_SHEAF, "more CPUs than a link can name"
    nr_caches = len(geometries)
    capacities = [geometry.sheaf_capacity for geometry in geometries]
    per_cache = nr_cpus * SHEAVES_PER_CPU + nr_nodes * (MAX_FULL_SHEAVES + EMPTY_PER_NODE)
    nr_sheaves = per_cache * sum(capacity > 0 for capacity in capacities) + nr_prefilled
    sh = Sheaves(
        sheaves=np.zeros(nr_sheaves, sheaf_t),
        objects=np.zeros(per_cache * sum(capacities) + nr_prefilled * PREFILLED_MAX, np.int32),
        cpus=np.zeros(nr_caches * nr_cpus, cpu_sheaves_t),
        barns=np.zeros(nr_caches * nr_nodes, barn_t),
        caches=np.zeros(nr_caches, cache_sheaves_t),
        params=np.zeros(1, sheaf_params_t),
    )
    sh.params[0].oversize = NO_SHEAF
    for name in ("main", "spare"):
        sh.cpus[name] = NO_SHEAF
    for name in ("full_first", "empty_first"):
        sh.barns[name] = NO_SHEAF
    sh.caches["recycled"] = NO_SHEAF
    for number, capacity in enumerate(capacities):
        _set_up_cache(sh, number, capacity, nr_cpus)
    return sh


def _set_up_cache(sh: Sheaves, number: int, capacity: int, nr_cpus: int) -> None:
    """Give each CPU its main sheaf (kernel: init_percpu_sheaves)."""
    sh.caches[number].capacity = capacity
    params = sh.params[0]
    for cpu in range(nr_cpus if capacity else 0):
        sheaf = int(params.nr_sheaves_used)
        sh.sheaves[sheaf] = (int(params.nr_places_used), 0, capacity, NO_SHEAF)
        sh.cpus[number * nr_cpus + cpu].main = sheaf
        params.nr_sheaves_used += 1
        params.nr_places_used += capacity
