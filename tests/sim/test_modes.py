"""Stepwise and default mode do the same, bit for bit: random studies with everything that acts on a machine."""

import random
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import simpy

from kmsim.config import from_mapping
from kmsim.jit_policies import Policies
from kmsim.sim.core.records import Core
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Simulation, new_simulation, run
from kmsim.sim.user.cpu import Alloc
from tests.studies import Mapping, mapping

NR_STUDIES = 30
PANIC = "Kernel panic - not syncing: "
NR_AT_ONCE = 10  # the default selection has these, and goldens are compared in both modes
GFPS = ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC", "GFP_KERNEL | __GFP_RECLAIMABLE", "GFP_KERNEL | __GFP_ZERO")


def requests(
    rng: random.Random, gfps: tuple[str, ...] = GFPS, orders: tuple[int, ...] = (0, 0, 0, 1, 2, 3, 4, 9)
) -> list[Mapping]:
    return [
        {"gfp": rng.choice(gfps), "order": rng.choice(orders), "weight": rng.randint(1, 5)}
        for _ in range(rng.randint(1, 3))
    ]


def phases(rng: random.Random) -> list[Mapping]:
    shared = rng.random() < 0.5
    return [
        {"do": "fill", "barrier": rng.random() < 0.5},
        {"do": "churn", "until": "60us"} if rng.random() < 0.5 else {"do": "churn", "operations": rng.randint(1, 80)},
        {"do": "empty", "whose": "all" if shared else "own", "barrier": shared},
    ]


def keeping(rng: random.Random) -> Mapping:
    if rng.random() < 0.5:
        return {"live": rng.randint(0, 60), "free": rng.choice(["random", "fifo", "lifo"])}
    lifetimes: list[Any] = ["immediate", "2us", {"exponential": "5us"}, {"pareto": {"least": "100ns", "shape": 1.5}}]
    return {"lifetime": rng.choice(lifetimes)}


def thread(rng: random.Random, cpus: int) -> Mapping:
    # Round times make many events fall on one instant.
    paces: list[Mapping] = [
        {},
        {"think": "100ns"},
        {"think": {"exponential": "500ns"}},
        {"arrivals": {"poisson": "1us"}},
        {"arrivals": {"bursts": {"every": "10us", "size": 8}}},
        {"arrivals": {"on_off": {"on": "10us", "off": "5us", "every": "300ns"}}},
    ]
    kept = keeping(rng)
    in_phases = "live" in kept and rng.random() < 0.5
    return {
        "cpus": sorted(rng.sample(range(cpus), rng.randint(1, cpus))),
        "per_cpu": rng.choice([1, 1, 2]),
        "pinned": rng.random() < 0.6,
        "start": rng.choice(["0ps", "3us"]),
        "requests": [*requests(rng), {"bytes": "12KiB", "contiguous": rng.random() < 0.5}],
        **({"phases": phases(rng)} if in_phases else {"operations": rng.randint(1, 300)}),
        **rng.choice(paces),
        **kept,
    }


def source(rng: random.Random, n: int, cpus: int, freer: str) -> Mapping:
    arrivals: list[Mapping] = [{"poisson": "100us"}, {"constant": "50us"}, {"constant": "80us"}]
    return {
        "name": f"source{n}",
        "kind": rng.choice(["irq", "softirq"]),
        "cpus": sorted(rng.sample(range(cpus), rng.randint(1, cpus))),
        "arrivals": rng.choice(arrivals),
        "batch": rng.randint(1, 5),
        "requests": requests(rng, ("GFP_ATOMIC", "GFP_NOWAIT"), (0, 0, 2, 4)),
        "lifetime": rng.choice(["immediate", {"exponential": "20us"}]),
        **({"freed_by": freer} if rng.random() < 0.5 else {}),
    }


def random_study(seed: int) -> Mapping:
    rng = random.Random(seed)
    cpus = rng.randint(1, 5)
    threads = [thread(rng, cpus) for _ in range(rng.randint(1, 4))]
    freer = {"name": "freer", "cpus": [rng.randrange(cpus)], "operations": 0}
    whole = mapping(
        *threads,
        freer,
        seed=seed,
        run={"sample_every": rng.choice(["7us", "10us"]), "validate_every": rng.choice([0, 100])},
        cpus=cpus,
        timeslice=rng.choice(["1us", "3ms"]),
        pcp={"auto_tune": rng.random() < 0.7},
        check_pages=rng.random() < 0.3,
        tails_written=rng.random() < 0.7,
        init_on_alloc=rng.random() < 0.2,
        init_on_free=rng.random() < 0.2,
    )
    whole["workload"]["interrupts"] = [source(rng, n, cpus, "freer") for n in range(rng.randint(0, 3))]
    whole["workload"]["drains"] = [{"cpu": rng.randrange(cpus), "every": "30us"} for _ in range(rng.randint(0, 2))]
    return whole


class UsersProcess:
    """A process as a user writes it; `log` says what it saw."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int]] = []

    def __call__(self, simulation: Simulation) -> Generator[simpy.Event, Any, None]:
        env = simulation.env
        held: list[Alloc] = []
        for n in range(40):
            cpu = simulation.cpus[n % len(simulation.cpus)]
            alloc = yield from cpu.alloc_pages("GFP_KERNEL", order=n % 5)
            if alloc is not None:
                held.append(alloc)
                self.log.append((now_ps(env), alloc.pfn))
            yield env.timeout(250_000 * (n % 4))
            if len(held) > 5:
                yield from cpu.free_pages(held.pop(n % len(held)))
        self.log.append((now_ps(env), -1))


def unchanged(_: Simulation) -> None:
    """The simulation as the study has it."""


def outcome(
    study: Mapping, prepare: Callable[[Simulation], None] = unchanged, *, stepwise: bool
) -> tuple[Simulation, Any]:
    process = UsersProcess()
    config = from_mapping(study | {"run": study["run"] | {"stepwise": stepwise}})
    simulation = new_simulation(config, [process])
    prepare(simulation)
    for _ in run(simulation):
        pass
    return simulation, process.log


def check_same(name: str, one: Any, other: Any) -> None:
    """Both are the same, to the last bit; NamedTuples of arrays field by field."""
    if hasattr(one, "_fields"):
        for field in one._fields:
            check_same(f"{name}.{field}", getattr(one, field), getattr(other, field))
    elif isinstance(one, Policies):
        assert one.name == other.name, name
    else:
        assert (one is None) == (other is None), name
        assert one is None or np.array_equal(one, other), name


def check_same_cores(default: Core, stepwise: Core) -> None:
    """All of both is the same, but the mode itself."""
    stepwise.state["stepwise"] = default.state["stepwise"]
    stepwise.m.params["stepwise"] = default.m.params["stepwise"]
    check_same("core", default, stepwise)


def check_both_modes(
    study: Mapping, prepare: Callable[[Simulation], None] = unchanged, *, may_panic: bool = False
) -> Simulation:
    """Run in both modes, `prepare` told of each simulation before; the default one's."""
    outcomes = [outcome(study, prepare, stepwise=mode) for mode in (False, True)]
    (default, default_log), (stepwise, stepwise_log) = outcomes
    assert default_log == stepwise_log
    assert default.nr_done == stepwise.nr_done > 0
    assert default.stuck == stepwise.stuck
    assert default.stuck == "" or (may_panic and default.stuck.startswith(PANIC))
    assert now_ps(default.env) == now_ps(stepwise.env)
    for table in ("free_blocks_table", "memory_table"):
        tables = [getattr(each.recorders.samples, table)(each.machine).frame() for each in (default, stepwise)]
        assert tables[0].equals(tables[1])
    check_same_cores(default.core, stepwise.core)
    return default


def seeds(nr_at_once: int, nr_studies: int) -> list[Any]:
    """The seeds of random studies, all but the first of them for the slow tests."""
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed >= nr_at_once else []) for seed in range(nr_studies)]


@pytest.mark.parametrize("seed", seeds(NR_AT_ONCE, NR_STUDIES))
def test_both_modes_give_the_same_bits(seed: int) -> None:
    assert check_both_modes(random_study(seed)).nr_done > 0


def test_the_random_studies_hold_everything_that_acts_on_a_machine() -> None:
    studies = [random_study(seed) for seed in range(NR_STUDIES)]
    threads = [thread for study in studies for thread in study["workload"]["threads"]]
    sources = [source for study in studies for source in study["workload"]["interrupts"]]
    assert {source["kind"] for source in sources} == {"irq", "softirq"}
    assert {bool(thread.get("pinned", True)) for thread in threads} == {False, True}
    assert any("freed_by" in source for source in sources)
    assert any(study["workload"]["drains"] for study in studies)
    assert {study["machine"]["timeslice"] for study in studies} == {"1us", "3ms"}
    assert {"arrivals", "think", "lifetime", "live", "phases", "start"} <= {key for thread in threads for key in thread}
