"""Results of a run's slab caches, vmalloc and kvmalloc: tables, and the kernel's own files.

A run whose workload needs no slabs has empty tables of these, and none of the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmsim.metrics.columns import INT, TEXT, Columns, Table, made_of
from kmsim.mm.slub_records import (
    NO_SLAB,
    SLAB_LIVE,
    SLAB_NODE_PARTIAL,
    Slub,
    cpu_slabs_of,
    kmem_cache_cpu_t,
    kmem_cache_t,
    nodes_of_cache,
)
from kmsim.mm.slub_recount import nr_live_objects, slab_totals
from kmsim.mm.vm_records import (
    HUGE_FALLBACKS,
    KV_OUTCOMES,
    KV_REASONS,
    POOL_HITS,
    PURGES,
    VM_ALLOCATED,
    VM_FAILED,
    VM_FREED,
    Vm,
)
from kmsim.procfs import slabinfo
from kmsim.procfs.slab_attributes import attributes

if TYPE_CHECKING:
    from kmsim.sim.run.windows import Reading
    from kmsim.sim.simulation import Simulation

SHAPE = ("object_size", "slot_size", "order", "objects", "cpu_partial_slabs", "min_partial")
_NAMES = kmem_cache_t.names or ()
CACHE_STATS = _NAMES[_NAMES.index("alloc_slowpath") :]  # kernel: CONFIG_SLUB_STATS
CPU_STATS = (kmem_cache_cpu_t.names or ())[-2:]
_COUNTS = ("live_objects", "total_objects", "nr_slabs", "nr_partial")
SLABS_COLUMNS: Columns = {"cache": TEXT, **dict.fromkeys((*SHAPE, *_COUNTS, *CPU_STATS, *CACHE_STATS), INT)}

_VM_EVENTS = {
    "vmalloc": VM_ALLOCATED,
    "vfree": VM_FREED,
    "vmalloc_failed_exceeds_memory": VM_FAILED + 1,
    "vmalloc_failed_no_vm_struct": VM_FAILED + 2,
    "vmalloc_failed_no_addresses": VM_FAILED + 3,
    "vmalloc_failed_no_array": VM_FAILED + 4,
    "vmalloc_failed_no_pages": VM_FAILED + 5,
    "vmalloc_failed_no_table": VM_FAILED + 6,
    "vmalloc_huge_fallback": HUGE_FALLBACKS,
    "vmap_purge": PURGES,
    "vmap_pool_hit": POOL_HITS,
    "kvmalloc_slab": KV_OUTCOMES + 1,
    "kvmalloc_pages": KV_OUTCOMES + 2,
    "kvmalloc_vmalloc": KV_OUTCOMES + 3,
    "kvmalloc_failed": KV_OUTCOMES + 4,
    "kvmalloc_fell_back_no_block": KV_REASONS + 1,
    "kvmalloc_fell_back_too_large": KV_REASONS + 2,
    "kvmalloc_not_allowed_small": KV_REASONS + 3,
    "kvmalloc_not_allowed_non_blocking": KV_REASONS + 4,
    "kvmalloc_not_allowed_above_int_max": KV_REASONS + 5,
    "kvmalloc_overflow": KV_REASONS + 6,
}
VM_COUNTERS = {f"kmsim:{name}" for name in _VM_EVENTS}


def cache_names(simulation: Simulation) -> list[str]:
    """The names of the caches by number; empty where there are none."""
    caches = simulation.plan.caches
    return [] if caches is None else [geometry.name for geometry in caches.geometries]


def slabs_table(slub: Slub | None, names: list[str], start: Reading | None = None) -> Table:
    """One row for each cache that was ever used, numbered as `names`; what SLUB counts begins at `start`."""
    rows: list[tuple[str | int, ...]] = []
    for number, name in enumerate(names if slub is not None else ()):
        assert slub is not None
        cache = slub.caches[number]
        if not any(int(cache[stat]) for stat in CACHE_STATS):
            continue
        nodes = nodes_of_cache(slub, number)
        totals = (int(nodes[key].sum()) for key in ("total_objects", "nr_slabs", "nr_partial"))
        counts = (nr_live_objects(slub, number), *totals)
        stats = _stats(cache, cpu_slabs_of(slub, number))
        if start is not None and start.slub is not None:
            stats -= _stats(start.slub.caches[number], cpu_slabs_of(start.slub, number))
        rows.append((name, *(int(cache[key]) for key in SHAPE), *counts, *stats.tolist()))
    return made_of(SLABS_COLUMNS, zip(*rows, strict=True) if rows else [()] * len(SLABS_COLUMNS))


def _stats(cache: np.void, of_cpus: np.ndarray[tuple[int], np.dtype[np.void]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """CPU_STATS over all CPUs, and CACHE_STATS."""
    return np.array([*(of_cpus[stat].sum() for stat in CPU_STATS), *(cache[stat] for stat in CACHE_STATS)], np.int64)


def vm_events(vm: Vm | None) -> dict[str, int]:
    """The counters of vmalloc and kvmalloc by name."""
    return {} if vm is None else {f"kmsim:{name}": int(vm.events[event]) for name, event in _VM_EVENTS.items()}


def slabinfo_text(simulation: Simulation) -> str | None:
    """/proc/slabinfo of the simulated machine; None where it has no slabs."""
    slub = simulation.core.slub
    if slub is None:
        return None
    lines = []
    for number, name in reversed(list(enumerate(cache_names(simulation)))):
        if simulation.plan.caches is not None and simulation.plan.caches.refcounts[number] == 0:
            continue  # destroyed
        cache, totals = slub.caches[number], slab_totals(slub, number)
        objects = totals.active_objects, totals.total_objects
        shape = int(cache["slot_size"]), int(cache["objects"]), 1 << int(cache["order"])
        lines.append(slabinfo.CacheLine(name, *objects, *shape, totals.nr_slabs, totals.nr_slabs))
    return slabinfo.text(lines)


def slab_attributes_text(simulation: Simulation) -> str | None:
    """/sys/kernel/slab as one file, a line `NAME/ATTRIBUTE TEXT` for each name and attribute; None without slabs.

    A name that has merged has the lines of the cache that serves it.
    """
    slub, caches = simulation.core.slub, simulation.plan.caches
    if slub is None or caches is None:
        return None
    lines = []
    for name in caches.names:
        files = attributes(caches, name) | _live_attributes(slub, caches.index_of(name))
        lines += [f"{name}/{file} {text}" for file, text in sorted(files.items())]
    return "".join(lines)


def _live_attributes(slub: Slub, number: int) -> dict[str, str]:
    """A cache's attributes that change (kernel: show_slab_objects, slabs_cpu_partial_show), not told apart by node."""
    cache, nr_used = slub.caches[number], int(slub.params[0]["nr_slabs_used"])
    slabs = slub.slabs[:nr_used]
    listed = SLAB_LIVE | SLAB_NODE_PARTIAL
    partial = slabs[(slabs["cache"] == number) & (slabs["slab_flags"] & listed == listed)]
    in_use, on_list = int(partial["inuse"].sum()), int(partial["objects"].sum())
    nr_cpu_slabs, nr_cpu_partial, of_cpus = 0, 0, ""
    for cpu, record in enumerate(cpu_slabs_of(slub, number)):
        first = int(record["partial"])
        nr_slabs = 0 if first == NO_SLAB else int(slub.slabs[first]["prev"])
        nr_cpu_partial += nr_slabs
        of_cpus += f" C{cpu}={_half_full(cache, nr_slabs)}" if nr_slabs else ""
        nr_cpu_slabs += 0 if int(record["slab"]) == NO_SLAB else 1 + nr_slabs  # the kernel skips such a CPU
    nodes = nodes_of_cache(slub, number)
    numbers = {
        "cpu_slabs": nr_cpu_slabs,
        "objects": int(nodes["total_objects"].sum()) - (on_list - in_use),
        "objects_partial": in_use,
        "partial": int(nodes["nr_partial"].sum()),
        "slabs": int(nodes["nr_slabs"].sum()),
        "slabs_cpu_partial": _half_full(cache, nr_cpu_partial) + of_cpus,
        "total_objects": int(nodes["total_objects"].sum()),
    }
    return {file: f"{number}\n" for file, number in numbers.items()}


def _half_full(cache: np.void, nr_slabs: int) -> str:
    """A CPU's partial slabs as the kernel prints them: the objects if each is half full, and the slabs."""
    return f"{nr_slabs * int(cache['objects']) // 2}({nr_slabs})"
