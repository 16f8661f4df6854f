"""Results to draw: made up, each with something that is hard to draw, and one that was simulated."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import numpy as np

from kmsim.metrics.samples import Samples
from kmsim.mm.mmzone import ZONE_NORMAL
from kmsim.sim.core.records import Core
from kmsim.study.runner import run_study
from kmsim.study.store import Result
from tests.studies import study
from tests.study.cores import hand_made_core, observe, result_of_core

MS = 10**9  # picoseconds


def churned(
    requests: Iterable[tuple[str, int]],
    *,
    nr_cpus: int = 2,
    nr_operations: int = 40,
    kinds: tuple[str, ...] = ("alloc", "free"),
    max_page_order: int = 10,
) -> Core:
    """A core that has counted random latencies, longer for larger orders, on every CPU."""
    rng = np.random.default_rng(1)
    requests = list(requests)
    core = hand_made_core(*requests, nr_cpus=nr_cpus, max_page_order=max_page_order)
    for n, (_, order) in enumerate(requests):
        for kind in kinds:
            for cpu in range(nr_cpus):
                observe(core, kind, n, cpu, rng.lognormal(11 + 0.3 * order, 1, nr_operations))
    return core


def waited(core: Core, busy: float = 0.9) -> Core:
    """Every CPU has spent its millisecond on a little of everything."""
    rng = np.random.default_rng(2)
    parts = ("instructions", "cache_lines", "lock_wait", "lock_hold", "switch", "interrupt")
    shares = rng.random((len(parts), len(core.cpus)))
    shares *= busy * rng.uniform(0.7, 1, len(core.cpus)) / shares.sum(axis=0)
    spent = (MS * shares).astype(np.int64)
    for part, of_cpus in zip(parts, spent, strict=True):
        core.cpus[f"{part}_ps"] = of_cpus
    core.cpus["idle_since"] = spent.sum(axis=0)
    core.locks["acquisitions"][:2] = 1000
    core.locks["contended"][1] = 100
    core.locks["wait_total"][1] = spent[2].sum()
    return core


def sampled(core: Core, nr_samples: int = 20, largest: int = 64) -> Samples:
    """Free memory that changes at random over a millisecond: fewer blocks of the larger orders, at times none."""
    rng = np.random.default_rng(3)
    samples = Samples()
    nr_orders = int(core.m.params[0].max_page_order) + 1
    for time_ps in np.linspace(0, MS, nr_samples).astype(np.int64):
        for zone in core.m.zones:
            if zone.present_pages:
                zone.nr_free[:nr_orders] = rng.integers(0, largest, nr_orders) >> np.arange(nr_orders) // 2
        samples.take(core.m, int(time_ps))
    return samples


def drawn_from(core: Core, nr_samples: int = 20, largest: int = 64) -> Result:
    return result_of_core(core, samples=sampled(core, nr_samples, largest), end_ps=MS)


def kernel(orders: Iterable[int]) -> list[tuple[str, int]]:
    return [("GFP_KERNEL", order) for order in orders]


def one_operation() -> Result:
    core = hand_made_core(("GFP_KERNEL", 0), nr_cpus=1)
    observe(core, "alloc", 0, 0, [61_000])
    return result_of_core(core, end_ps=61_000)


def all_flags() -> Result:
    words = ("GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_ACCOUNT", "GFP_ATOMIC", "GFP_NOWAIT & ~__GFP_KSWAPD_RECLAIM")
    return drawn_from(waited(churned((text, order) for text in words for order in (0, 10))))


def exhausted() -> Result:
    core = waited(churned(kernel([0, 9])))
    core.totals[2, :, 3:5] = (1234, 1234)
    for zone in core.m.zones:
        zone.nr_free[:] = 0
    samples = sampled(core, 5)
    core.m.zones[0].nr_free[:] = (5, *(0,) * 15)
    core.m.zones[1].nr_free[:] = 0
    samples.take(core.m, 2 * MS)
    return result_of_core(core, samples=samples, end_ps=2 * MS)


def all_failed() -> Result:
    """Billions of operations of every order, some of which failed; of one order, all."""
    core = waited(churned(kernel(range(11))))
    for k in range(0, 22, 2):
        core.totals[k, :, 3:5] = 10**8 + 5
        core.totals[k + 1, 0, 0] += 5 * 10**9
        filled = np.flatnonzero(core.counts[k + 1, 0])
        core.counts[k + 1, 0, filled[-1]] += 5 * 10**9
    core.totals[20, :, :3] = 0
    core.counts[20] = 0
    return drawn_from(core)


def three_zones() -> Result:
    core = waited(churned(kernel([0])))
    core.m.zones[ZONE_NORMAL].present_pages = 1
    rare = [(100 if z == ZONE_NORMAL else 1) << 2 for z in range(3)]
    samples = sampled(core, 3)
    for z, blocks in enumerate(rare):
        core.m.zones[z].nr_free[:11] = (*(3,) * 10, 1000 * blocks)
    samples.take(core.m, 2 * MS)
    return result_of_core(core, samples=samples, end_ps=2 * MS)


def equal_latencies() -> Result:
    core = hand_made_core(*kernel([0, 3]))
    for request in (0, 1):
        observe(core, "free", request, 0, [41_000] * 30)
        observe(core, "alloc", request, 0, [48_000] * 30)
    return drawn_from(core)


def every_allocator() -> Result:
    """Pages, exact pages, pages in bulk, kmalloc of many sizes, a cache by name, vmalloc and kvmalloc."""
    requests = [
        {"order": 3, "gfp": "GFP_HIGHUSER_MOVABLE | __GFP_ZERO"},
        {"api": "exact", "bytes": "20KiB"},
        {"api": "bulk", "pages": 20},
        {"api": "kmalloc", "bytes": {"uniform": {"low": "1B", "high": "40KiB"}}, "weight": 20},
        {"api": "kmalloc", "bytes": "96B", "gfp": "GFP_KERNEL | __GFP_RECLAIMABLE"},
        {"cache": "skbuff_head_cache", "weight": 5},
        {"api": "vmalloc", "bytes": "64KiB"},
        {"api": "kvmalloc", "bytes": {"uniform": {"low": "1B", "high": "2MiB"}}, "weight": 5},
    ]
    return run_study(study({"operations": 1000, "live": 100, "requests": requests}))


RESULTS: dict[str, Callable[[], Result]] = {
    "one operation": one_operation,
    "no operation": lambda: result_of_core(hand_made_core(), end_ps=0),
    "no free": lambda: drawn_from(churned(kernel([0, 3]), kinds=("alloc",))),
    "all orders": lambda: drawn_from(waited(churned(kernel(range(11))))),
    "all flags": all_flags,
    "exhausted": exhausted,
    "all failed": all_failed,
    "256 CPUs": lambda: drawn_from(waited(churned(kernel([0, 4]), nr_cpus=256, nr_operations=3), busy=0.3)),
    "three zones": three_zones,
    "equal latencies": equal_latencies,
    "many samples": lambda: drawn_from(waited(churned(kernel([0]))), nr_samples=5000),
    "64 KiB pages": lambda: replace(
        drawn_from(waited(churned(kernel(range(14)), nr_operations=5, max_page_order=13))),
        provenance={"name": "made up", "seed": 1, "page_size_bytes": 65536, "notes": [], "left_out": []},
    ),
    "every allocator": every_allocator,
    "simulated": lambda: run_study(study({"operations": 60, "live": 20, "requests": [{"order": 0}, {"order": 4}]})),
}


@cache
def result_of(name: str) -> Result:
    """One of `RESULTS`, made once."""
    return RESULTS[name]()
