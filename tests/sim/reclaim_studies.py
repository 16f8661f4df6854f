"""Random studies in which memory is short: what reclaims, what is on LRU lists, and what disturbs that.

Two families, as two cores are compiled: `pages` has blocks of pages and reads of files; `all` has some of every
allocator, too.
"""

import random
from typing import Any

from tests.studies import Mapping, mapping

FAMILIES = ("pages", "all")
GFPS = (
    "GFP_KERNEL",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_KERNEL | __GFP_RECLAIMABLE",
    "GFP_KERNEL | __GFP_NORETRY",
    "GFP_KERNEL | __GFP_RETRY_MAYFAIL",
    "GFP_KERNEL | __GFP_ZERO",
    "GFP_KERNEL | __GFP_MEMALLOC",
    "GFP_KERNEL | __GFP_HIGH",
    "GFP_NOFS",
    "GFP_NOIO",
    "GFP_DMA",
    "GFP_DMA32",
    "GFP_USER",
    "GFP_TRANSHUGE",
    "GFP_TRANSHUGE_LIGHT",
    "GFP_ATOMIC",
    "GFP_NOWAIT",
)
READ_GFPS = ("GFP_HIGHUSER_MOVABLE", "GFP_KERNEL", "GFP_NOFS", "GFP_USER | __GFP_NORETRY")
TOP = 10  # the largest order


def random_study(family: str, seed: int, **run: Any) -> Mapping:
    """A study of the family; of `all`, each has some of every allocator."""
    rng = random.Random(f"{family} {seed}")
    cpus = rng.randint(1, 3)
    threads = [_reader(rng, n) for n in range(rng.randint(1, 2))]
    threads += [_pages(rng, n, cpus) for n in range(rng.randint(1, 2))]
    if family == "all":
        threads.append(_objects_and_areas(rng))
    whole = mapping(
        *threads,
        seed=seed,
        run={"validate_every": rng.choice((100, 300)), "sample_every": "200us", **run},
        memory=rng.choice(("64MiB", "64MiB", "96MiB", "128MiB")),
        cpus=cpus,
        swap=rng.choice(("0B", "0B", "200KiB", "8MiB")),
        sysctl={"swappiness": rng.choice((0, 60, 100, 200))},
        timeslice=rng.choice(("10us", "3ms")),
        init_on_free=rng.random() < 0.2,
        state={"filled": _filled(rng)},
    )
    whole["workload"]["interrupts"] = [_interrupt(rng, n) for n in range(rng.randint(0, 2))]
    whole["workload"]["drains"] = [{"cpu": rng.randrange(cpus), "every": "300us"} for _ in range(rng.randint(0, 1))]
    return whole


def _filled(rng: random.Random) -> Mapping:
    in_use = rng.uniform(0.86, 0.91)
    anonymous = in_use * rng.choice((0, 0.1, 0.5, 0.9))
    return {"page_cache": round(in_use - anonymous, 3), "anonymous": round(anonymous, 3)}


def _reader(rng: random.Random, n: int) -> Mapping:
    file = {"file": rng.choice(("one", f"file{n}")), "file_size": "16MiB", "zipf": 0.8 * n}
    return {
        "name": f"reader{n}",
        "operations": rng.randint(500, 2500),
        "per_cpu": rng.choice((1, 2)),
        "pinned": rng.random() < 0.7,
        "think": rng.choice(("0ps", {"exponential": "2us"})),
        "requests": [{"api": "file_read", "gfp": rng.choice(READ_GFPS), **file}],
    }


def _pages(rng: random.Random, n: int, cpus: int) -> Mapping:
    thread: Mapping = {
        "name": f"pages{n}",
        "cpus": sorted(rng.sample(range(cpus), rng.randint(1, cpus))),
        "operations": rng.randint(200, 1000),
        "pinned": rng.random() < 0.7,
        "requests": [
            {"gfp": rng.choice(GFPS), "order": order, "weight": 1 + 40 // 4**order}
            for order in (0, rng.randint(0, 3), rng.randint(0, TOP))
        ],
    }
    if rng.random() < 0.7:
        return thread | {"live": rng.randint(1, 200), "free": rng.choice(("random", "fifo", "lifo"))}
    return thread | {"lifetime": rng.choice(("immediate", "50us", {"exponential": "200us"}))}


def _objects_and_areas(rng: random.Random) -> Mapping:
    sizes: Mapping = {"uniform": {"low": "1B", "high": "60KiB"}}
    return {
        "name": "others",
        "operations": rng.randint(50, 150),
        "live": rng.randint(5, 40),
        "requests": [
            {"api": "kmalloc", "bytes": {"uniform": {"low": "8B", "high": "16KiB"}}, "weight": 3},
            {"cache": "dentry", "weight": 3},
            {"api": "vmalloc", "bytes": sizes},
            {"api": "kvmalloc", "bytes": sizes},
            {"api": "bulk", "pages": rng.randint(1, 60)},
            {"api": "exact", "bytes": "20KiB"},
        ],
    }


def _interrupt(rng: random.Random, n: int) -> Mapping:
    return {
        "name": f"source{n}",
        "kind": ("irq", "softirq")[n],
        "arrivals": {"poisson": rng.choice(("100us", "300us"))},
        "batch": rng.randint(1, 4),
        "requests": [{"gfp": rng.choice(("GFP_ATOMIC", "GFP_NOWAIT")), "order": rng.choice((0, 0, 1, 3))}],
        "lifetime": rng.choice(("immediate", {"exponential": "100us"})),
    }
