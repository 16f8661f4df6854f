"""Stepwise and default mode do the same, bit for bit: random studies of slabs, lists of pages, and vmalloc.

Every study has some of each allocator, so that one compiled core serves all: objects and sizes that go to caches,
blocks that other CPUs and interrupts free, address spaces that are small enough to be exhausted, purges.
"""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from kmsim.mm.slub_records import kmem_cache_t
from kmsim.mm.vm_records import KV_OUTCOMES, NO_SPACE, PURGES, VM_FAILED
from kmsim.sim.core.records import FAILED
from kmsim.sim.simulation import Simulation
from kmsim.study.tables import lock_names
from kmsim.workload.plan import BULK, EXACT, KVMALLOC, LARGE, SLAB, THREAD, VMALLOC
from tests.sim.test_modes import check_both_modes, keeping, requests, seeds, source
from tests.studies import Mapping, mapping

NR_STUDIES = 24
NR_AT_ONCE = 8
ARCHES = {"x86-64": "x86-laptop", "arm64": "arm64-server"}
CACHES = ("skbuff_head_cache", "dentry", "vm_area_struct", "mine")


def of_slabs(rng: random.Random, gfp: str) -> list[Mapping]:
    sizes: list[Any] = ["8B", "100B", "4000B", "20KiB", {"uniform": {"low": "1B", "high": "9000B"}}]
    found: list[Mapping] = [{"api": "kmalloc", "bytes": rng.choice(sizes), "gfp": gfp} for _ in range(2)]
    return [*found, {"cache": rng.choice(CACHES), "gfp": gfp.removesuffix(" | __GFP_ZERO"), "weight": 3}]


def of_lists(rng: random.Random) -> list[Mapping]:
    exact = {"api": "exact", "bytes": rng.choice(["5KiB", "20KiB", {"uniform": {"low": "1B", "high": "70KiB"}}])}
    return [exact, {"api": "bulk", "pages": rng.randint(1, 200)}]


def of_addresses(rng: random.Random) -> list[Mapping]:
    small: list[Any] = ["1B", "12KiB", "100KiB", {"uniform": {"low": "1B", "high": "200KiB"}}]
    large: list[Any] = ["1MiB", "3MiB", {"uniform": {"low": "1MiB", "high": "4MiB"}}]
    return [
        {"api": "vmalloc", "bytes": rng.choice(small), "weight": 4},
        {"api": "vmalloc", "bytes": rng.choice(large), "huge": rng.random() < 0.3},
        {"api": "kvmalloc", "bytes": rng.choice([*small, "1MiB", "5MiB"])},
    ]


def thread(rng: random.Random, cpus: int, asked: list[Mapping]) -> Mapping:
    kept = keeping(rng)
    on = sorted(rng.sample(range(cpus), rng.randint(1, cpus)))
    if "live" in kept:
        kept["live"] = rng.randint(1, 12)
        if len(on) > 1:
            kept["remote_frees"] = rng.choice([0.0, 0.3, 1.0])
    elif rng.random() < 0.6:
        kept["freed_by"] = "freer"
    paces: list[Mapping] = [{}, {"think": "100ns"}, {"think": {"exponential": "2us"}}, {"arrivals": {"poisson": "3us"}}]
    return {
        "cpus": on,
        "per_cpu": rng.choice([1, 1, 2]),
        "pinned": rng.random() < 0.7,
        "operations": rng.randint(60, 160),
        "requests": asked,
        **rng.choice(paces),
        **kept,
    }


def random_study(seed: int) -> Mapping:
    """A study with all allocators; half of them on each architecture, a third with a small address space."""
    rng = random.Random(1000 + seed)
    cpus = rng.randint(1, 4)
    interrupts = [source(rng, n, cpus, "freer") for n in range(2)]
    interrupts[0]["requests"] = of_slabs(rng, "GFP_ATOMIC")
    interrupts[1] |= {"kind": ("irq", "softirq")[seed % 2], "lifetime": "immortal"}
    interrupts[1].pop("freed_by", None)
    threads = [
        thread(rng, cpus, of_slabs(rng, rng.choice(["GFP_KERNEL", "GFP_KERNEL | __GFP_ZERO"]))),
        thread(rng, cpus, of_lists(rng) + requests(rng, orders=(0, 1))),
        thread(rng, cpus, of_addresses(rng)),
        {"cpus": [0], "operations": 100, "requests": of_addresses(rng), "lifetime": {"exponential": "10us"}},
        {"name": "freer", "cpus": [rng.randrange(cpus)], "operations": 0},
    ]
    whole = mapping(
        *threads,
        seed=seed,
        run={"sample_every": "50us", "validate_every": rng.choice([0, 0, 100])},
        extends=ARCHES[("x86-64", "arm64")[seed % 2]],
        cpus=cpus,
        memory="192MiB",
        timeslice=rng.choice(["1us", "3ms"]),
        slab={"freelist_random": rng.random() < 0.3},
        caches=[{"name": "mine", "object_size": "120B", "constructor": "30ns", "cpu_partial": 3}],
        vmalloc={"size": ("16MiB", "auto", "200MiB")[seed % 3]},
    )
    whole["workload"]["interrupts"] = interrupts
    return whole


def free_in_interrupts(simulation: Simulation) -> None:
    """Let interrupts free what the last thread allocates, with its heap: no config can ask for that."""
    tasks = simulation.plan.tasks
    (allocates,) = (k for k, task in enumerate(tasks) if task.name.startswith("t3"))
    frees = next(k for k, task in enumerate(tasks) if task.name.startswith("source1"))
    core = simulation.core
    for name in ("first_due", "nr_due_max"):
        core.tasks[name][frees] = core.tasks[name][allocates]
    core.tasks["freed_by"][allocates] = frees


def events_of(seed: int) -> Counter[str]:
    """Run a study in both modes; how often what happened in it."""
    simulation = check_both_modes(random_study(seed), free_in_interrupts)
    core = simulation.core
    assert core.vm is not None
    assert core.slub is not None
    assert simulation.plan.caches is not None
    names = lock_names(core, [geometry.name for geometry in simulation.plan.caches.geometries])
    locks = dict(zip(names, core.locks, strict=True))
    asked = {api: core.totals[::2][core.requests["api"] == api][:, :, 0].sum() for api in range(LARGE, KVMALLOC + 1)}
    slow = [name for name in kmem_cache_t.names or () if name in ("alloc_slowpath", "free_slowpath")]
    return Counter(
        {
            **{f"api {api}": int(count) for api, count in asked.items()},
            **{name: int(core.slub.caches[name].sum()) for name in slow},
            **{f"kvmalloc {n}": int(core.vm.events[KV_OUTCOMES + n]) for n in (1, 2, 3)},
            "done by interrupts": int(
                sum(core.tasks["nr_done"][k] for k, task in enumerate(simulation.plan.tasks) if task.level > THREAD)
            ),
            "purges": int(core.vm.events[PURGES]),
            "no addresses": int(core.vm.events[VM_FAILED + NO_SPACE]),
            "waits for a node": sum(int(lock["contended"]) for name, lock in locks.items() if "vmap node" in name),
            "waits for the mutex": int(locks["vmap_purge_lock"]["contended"]),
            "failed": int(core.totals[:, :, FAILED].sum()),
            "idle": int(np.count_nonzero(core.cpus["idle_ps"])),
        }
    )


_events: dict[int, Counter[str]] = {}


@pytest.mark.parametrize("seed", seeds(NR_AT_ONCE, NR_STUDIES))
def test_both_modes_give_the_same_bits(seed: int) -> None:
    _events[seed] = events_of(seed)
    assert all(_events[seed][f"api {api}"] for api in (SLAB, EXACT, BULK, VMALLOC, KVMALLOC))


@pytest.mark.slow
def test_the_random_studies_hold_what_the_allocators_do() -> None:
    for seed in set(range(NR_STUDIES)) - _events.keys():
        _events[seed] = events_of(seed)
    total = sum(_events.values(), Counter())
    assert {name: count for name, count in total.items() if count < 5} == {}
    wanted = ("alloc_slowpath", "kvmalloc 1", "kvmalloc 2", "kvmalloc 3", "purges", "no addresses", "failed")
    assert all(total[name] for name in (*wanted, "waits for a node", "waits for the mutex"))
    threads = [thread for seed in range(NR_STUDIES) for thread in random_study(seed)["workload"]["threads"]]
    assert any(thread.get("remote_frees") for thread in threads)
    assert any(thread.get("freed_by") for thread in threads)
