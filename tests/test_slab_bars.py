"""How fast, how large: slabs and vmalloc, measured and printed (`pytest -m slow -s tests/test_slab_bars.py`).

Only sizes are asserted, as in `test_bars`.
"""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin, slab_resume
from kmsim.mm.slub_records import CHUNK_SHIFT, Slub, slab_t
from kmsim.mm.slub_recount import nr_live_objects
from kmsim.sim.core.records import slot_t
from kmsim.sim.simulation import Simulation, new_simulation, run
from tests.studies import study
from tests.test_bars import bench, rate

NR_PAIRS = 10_000_000
OBJECT_BYTES_MAX = 8
MIB = 1 << 20

pytestmark = pytest.mark.slow


@entry
def pairs(m: Machine, sl: Slub, cache: int, gfp: int, nr_pairs: int) -> int:
    """Allocate and free one object after the other on CPU 0; how many took a lock."""
    nr_locks = 0
    for _ in range(nr_pairs):
        wanted = slab_alloc_begin(m, sl, 0, cache, gfp)
        while wanted:
            nr_locks += 1
            wanted = slab_resume(m, sl, 0)
        obj = int(sl.contexts[0].obj)
        wanted = slab_free_begin(m, sl, 0, obj)
        while wanted:
            nr_locks += 1
            wanted = slab_resume(m, sl, 0)
    return nr_locks


def with_slabs(operations: int = 1) -> Simulation:
    """A simulation that has slab caches."""
    request = {"api": "kmalloc", "bytes": "256B"}
    return new_simulation(study({"operations": operations, "live": 1, "requests": [request]}, cpus=2))


def test_slab_fast_path_alone() -> None:
    simulation = with_slabs()
    caches = simulation.plan.caches
    assert caches is not None
    cache, gfp = caches.index_of("kmalloc-256"), GFP_FLAGS["GFP_KERNEL"]
    core = simulation.core
    pairs(core.m, core.slub, cache, gfp, 1)  # compiles, and makes the first slab
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        assert pairs(core.m, core.slub, cache, gfp, NR_PAIRS) == 0
        rates.append(2 * NR_PAIRS / (time.perf_counter() - start) / 1e6)
    print(f"\nslab fast path alone: {max(rates):.0f} million operations a second ({min(rates):.0f} at least)")
    assert nr_live_objects(core.slub, cache) == 0


@pytest.mark.parametrize(("name", "nr_operations"), [("kmalloc", 10**6), ("slab_fast", 10**6), ("vmalloc", 10**5)])
def test_operations_a_second_of_a_simulation(name: str, nr_operations: int) -> None:
    rate(bench(name, 160))  # compiles
    rates = [rate(bench(name, nr_operations)) for _ in range(3)]
    print(f"\n{name}: {max(rates):.2f} million operations a second ({min(rates):.2f} at least)")
    assert min(rates) > 0


def test_a_live_object_takes_8_bytes() -> None:
    simulation = new_simulation(bench("kmalloc", 1_600_000))
    for _ in run(simulation):
        pass
    slub = simulation.core.slub
    live = sum(nr_live_objects(slub, cache) for cache in range(len(slub.caches)))
    nr_bytes = int(slub.params[0].nr_slabs_used) * slab_t.itemsize
    per_chunk = (slub.links.itemsize << CHUNK_SHIFT) + slub.slab_of_chunk.itemsize
    nr_bytes += int(slub.params[0].nr_chunks_used) * per_chunk
    print(f"\n{nr_bytes / live:.2f} bytes for each of {live:,} live objects, free ones of their slabs included")
    print(f"and {slot_t.itemsize} bytes for the slot in which the thread that holds it remembers it")
    assert live > 10_000
    assert nr_bytes <= OBJECT_BYTES_MAX * live


def test_a_million_live_vmap_areas() -> None:
    rates = {}
    for live in (64, 65_536):
        request = {"api": "vmalloc", "bytes": "4KiB"}
        thread = {"operations": 2 * live + 20_000, "live": live, "requests": [request]}
        simulation = new_simulation(study(thread, memory="8GiB", cpus=16))
        done: list[tuple[float, int]] = []
        for nr_done in run(simulation):
            done.append((time.perf_counter(), nr_done))
        rates[live] = churning(np.array(done), 16 * live)
        print(f"\nvmalloc, {16 * live:,} live areas of a page: {rates[live]:.2f} million operations a second")
    print(f"a million areas slow it down by {rates[64] / rates[65_536]:.2f} times")
    assert min(rates.values()) > 0


def churning(done: NDArray[np.float64], nr_filling: int) -> float:
    """Million operations a second once all slots are full."""
    churned = done[done[:, 1] >= nr_filling]
    return float((churned[-1, 1] - churned[0, 1]) / (churned[-1, 0] - churned[0, 0]) / 1e6)
