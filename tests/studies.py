"""Small studies for tests: a machine of 64 MiB and 2 CPUs, one thread, all to be overridden."""

from typing import Any

from kmsim.config import Study, from_mapping

NO_WORK_PRICES = ("buddy_split", "buddy_merge", "page_moved", "block_scanned")


Mapping = dict[str, Any]


def mapping(*threads: Mapping, seed: int = 1, run: Any = None, costs: Any = None, **machine: Any) -> Mapping:
    """The mapping of a study; each thread is named `t0`, `t1` ... unless it says otherwise."""
    named = [{"name": f"t{n}"} | thread for n, thread in enumerate(threads or ({"operations": 40},))]
    config: Mapping = {
        "name": "small",
        "seed": seed,
        "machine": {"extends": "x86-laptop", "memory": "64MiB", "cpus": 2} | machine,
        "workload": {"threads": named},
    }
    return config | ({"run": run} if run else {}) | ({"costs": costs} if costs else {})


def study(*threads: Mapping, **others: Any) -> Study:
    """The resolved study of `mapping`."""
    return from_mapping(mapping(*threads, **others))


def lock_prices_only() -> Mapping:
    """Prices that a reader can add up: 61 ns to begin an allocation, 56 a free; a lock 15, handed over 100."""
    free_work = {name: {"value": "0ns", "source": "nothing, for a test"} for name in NO_WORK_PRICES}
    fixed = {"alloc_fast": 56, "free_fast": 56, "watermark_check": 5, "lock_uncontended": 15, "lock_handover": 100}
    priced = {name: {"value": f"{value}ns", "source": "for a test"} for name, value in fixed.items()}
    return {"extends": "xeon-gold-5320"} | priced | free_work
