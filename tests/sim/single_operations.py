"""Runs that keep single operations, in both modes: `python -m tests.sim.single_operations`, small ones in plain Python.

Prints their tables as JSON, by a name and the mode. A user's process asks for memory, too.
"""

import json
from collections.abc import Generator
from typing import Any

import simpy

from kmsim.config import from_mapping
from kmsim.sim.simulation import Simulation
from kmsim.study.runner import run_point
from kmsim.study.tables import tables_of
from tests.studies import Mapping, mapping

KEPT = 30
WARM_UP_NS = 20_000
MODES = ("default", "stepwise")
IN_BOTH = ("all", "last", "sampled", "all after the warm-up")
RUNS: dict[str, Mapping] = {
    "none": {},
    "all": {"operations": 10_000},
    "last": {"operations": KEPT},
    "sampled": {"operations": KEPT, "operations_kept": "sampled"},
    "all after the warm-up": {"operations": 10_000, "warm_up": f"{WARM_UP_NS}ns"},
    "ended in the warm-up": {"operations": KEPT, "warm_up": "1s"},
}
THREADS: tuple[Mapping, ...] = (
    {
        "operations": 60,
        "live": 8,
        "requests": [{"order": 0, "weight": 3}, {"order": 3}, {"gfp": "GFP_ATOMIC", "order": 2}],
    },
    {
        "cpus": [0],
        "operations": 40,
        "lifetime": {"exponential": "5us"},
        "requests": [{"order": 1}, {"api": "exact", "bytes": "9KiB"}],
    },
    {"cpus": [1], "operations": 36, "live": 30, "think": "1us", "requests": [{"order": 10}]},
)
INTERRUPT = {
    "name": "nic",
    "kind": "irq",
    "cpus": [1],
    "arrivals": {"constant": "7us"},
    "lifetime": "immediate",
    "requests": [{"gfp": "GFP_ATOMIC"}],
}


def user(simulation: Simulation) -> Generator[simpy.Event, Any, None]:
    """A user's process: two requests and two frees."""
    cpu = simulation.cpus[0]
    object_ = yield from cpu.kmalloc(500)
    block = yield from cpu.alloc_pages("GFP_KERNEL", order=2)
    yield from cpu.kfree(object_)
    yield from cpu.free_pages(block)


def tables_of_run(name: str, mode: str) -> dict[str, Any]:
    """The tables of one of RUNS, as rows."""
    run = {**RUNS[name], "stepwise": mode == "stepwise", "sample_every": "20us"}
    config = from_mapping(mapping(*THREADS, interrupts=[INTERRUPT], run=run, memory="64MiB"))
    tables = tables_of(run_point(config, processes=[user] if "warm-up" not in name else []))
    names = ("operations", "single_operations")
    return {table: tables[table].to_dict("records") for table in names if table in tables}


def main() -> None:
    """Run and print."""
    modes = {name: MODES if name in IN_BOTH else MODES[:1] for name in RUNS}
    print(json.dumps({name: {mode: tables_of_run(name, mode) for mode in modes[name]} for name in RUNS}))


if __name__ == "__main__":
    main()
