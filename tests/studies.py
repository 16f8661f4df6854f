"""Small studies for tests: a machine of 64 MiB and 2 CPUs, one thread, all to be overridden."""

from typing import Any

from kmsim.config import CostsConfig, MachineConfig, Study, from_mapping
from kmsim.study.limits import study_named

Mapping = dict[str, Any]

# Prices that a reader can add up: 61 ns to begin an allocation, 56 a free; a lock 15, handed over 100.
_NS = {"alloc_fast": 56, "free_fast": 56, "watermark_check": 5, "lock_uncontended": 15, "lock_handover": 100}


def mapping(
    *threads: Mapping, seed: int = 1, run: Any = None, costs: Any = None, interrupts: Any = (), **machine: Any
) -> Mapping:
    """The mapping of a study; each thread is named `t0`, `t1` ... unless it says otherwise."""
    named = [{"name": f"t{n}"} | thread for n, thread in enumerate(threads or ({"operations": 40},))]
    config: Mapping = {
        "name": "small",
        "seed": seed,
        "machine": {"extends": "x86-laptop", "memory": "64MiB", "cpus": 2} | machine,
        "workload": {"threads": named, "interrupts": list(interrupts)},
    }
    return config | ({"run": run} if run else {}) | ({"costs": costs} if costs else {})


def study(*threads: Mapping, **others: Any) -> Study:
    """The resolved study of `mapping`."""
    return from_mapping(mapping(*threads, **others))


def lock_prices_only() -> Mapping:
    """Fixed prices of operations and locks; all work, and all cache lines, for nothing."""
    steps = [name for name in CostsConfig.model_fields if name not in ("name", "source", "cache_lines")]
    priced = {name: {"value": f"{_NS.get(name, 0)}ns", "source": "for a test"} for name in steps}
    return {"extends": "xeon-gold-5320"} | priced


def machine_named(name: str) -> MachineConfig:
    """The machine of that shipped name or file, as `kmsim limits` takes it."""
    return study_named(name, (), command="limits", argument="MACHINE").machine
