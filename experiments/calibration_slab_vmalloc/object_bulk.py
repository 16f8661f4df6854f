"""kmem_cache_alloc_bulk and kmem_cache_free_bulk, over and over: SLUB's calls that no request of a workload makes.

What `mm.slub` says was done is priced as in a run: a call has the fast path's instructions, each object those of
one in a bulk, and the objects' cache lines. Objects are reused at once, so that no call needs a lock.
"""

from __future__ import annotations

from kmsim.config.study import Study
from kmsim.jit import entry
from kmsim.mm.slub import slab_alloc_bulk_begin, slab_free_bulk_begin, slab_resume
from kmsim.sim.core.costs import cache_lines_ps, no_light_work, slab_price
from kmsim.sim.core.records import Core
from kmsim.sim.simulation import new_simulation

ROUNDS = 1000


@entry
def bulk_pair_ps(s: Core, cache: int, gfp: int, nr_objects: int) -> int:
    """One bulk allocation and the bulk free of what it got, on the first CPU, in picoseconds; 0 if it needed a lock."""
    assert s.slub is not None
    no_light_work(s)
    needed_lock = False
    wanted = slab_alloc_bulk_begin(s.m, s.slub, 0, cache, gfp, nr_objects)
    while wanted:
        needed_lock = True
        wanted = slab_resume(s.m, s.slub, 0)
    taking = s.prices[0].slab_alloc_fast + slab_price(s, 0) + cache_lines_ps(s)
    no_light_work(s)
    wanted = slab_free_bulk_begin(s.m, s.slub, 0, nr_objects)
    while wanted:
        needed_lock = True
        wanted = slab_resume(s.m, s.slub, 0)
    giving = s.prices[0].slab_free_fast + slab_price(s, 0) + cache_lines_ps(s)
    no_light_work(s)
    return 0 if needed_lock else int(taking + giving)


def object_bulk_ps(study: Study, nr_objects: int) -> float:
    """The mean of an allocation and a free of one object in bulks of so many, in picoseconds.

    The study's one request says which object.
    """
    core = new_simulation(study).core
    request = core.requests[0]
    cache, gfp = int(request.cache), int(request.gfp)
    bulk_pair_ps(core, cache, gfp, nr_objects)  # the first call needs a new slab
    total = 0
    for _ in range(ROUNDS):
        round_ps = bulk_pair_ps(core, cache, gfp, nr_objects)
        assert round_ps, "objects that were just freed need no lock"
        total += round_ps
    return total / ROUNDS / nr_objects
