"""Random valid configs: small runs of many kinds, from a seed.

Two families, so that two cores are compiled for all of them: `pages`, which asks for pages alone, and
`everything`, which always asks for exact pages, objects, areas and kvmalloc, too.
"""

from __future__ import annotations

import random
from typing import Any

from kmsim.units import TIME_UNITS, format_time, parse_time
from tests.studies import mapping

Mapping = dict[str, Any]

FLAGS = ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC", "GFP_KERNEL | __GFP_RECLAIMABLE | __GFP_ZERO")
NR_CPUS = 2
OTHERS: tuple[Mapping, ...] = (
    {"api": "exact", "bytes": "20KiB"},
    {"cache": "skbuff_head_cache"},
    {"api": "kmalloc", "bytes": {"uniform": {"low": "8B", "high": "3KiB"}}},
    {"api": "vmalloc", "bytes": {"uniform": {"low": "1B", "high": "90KiB"}}},
    {"api": "kvmalloc", "bytes": {"uniform": {"low": "1KiB", "high": "300KiB"}}},
    {"api": "bulk", "pages": 20},
)
FAMILIES = ("pages", "everything")


def random_config(family: str, seed: int) -> Mapping:
    """A study of one run."""
    rng = random.Random(f"{family} {seed}")
    threads = [_thread(rng, family, n) for n in range(rng.randint(1, 3))]
    if family == "everything":
        threads.append(_common(rng, "others") | {"cpus": [0, 1], "requests": list(OTHERS), "live": rng.randint(1, 60)})
    interrupts = [_interrupt(rng)] if rng.random() < 0.4 else []
    run = rng.choice([{}, {"sample_every": "7us"}, {"sample_every": "20us", "batch": "30us"}])
    config = mapping(*threads, seed=seed, interrupts=interrupts, run=run)
    if rng.random() < 0.5:
        config["workload"]["drains"] = [{"cpu": rng.randrange(NR_CPUS), "every": "9us"}]
    return config


def deterministic_config(family: str, seed: int) -> Mapping:
    """A run without random numbers, whose threads are each alone on a CPU and never sleep but for constant times."""
    rng = random.Random(f"deterministic {family} {seed}")
    threads = []
    for cpu in range(rng.randint(1, NR_CPUS)):
        requests: list[Mapping] = [{"order": rng.randint(0, 4)}]
        if family == "everything":
            requests = [OTHERS[0]] if cpu else [{"api": "vmalloc", "bytes": "30KiB"}]
        live = rng.randint(1, 90)
        think = rng.choice(["0ps", "130ns", "2us"])
        thread = {"name": f"t{cpu}", "cpus": [cpu], "operations": rng.randint(20, 300), "requests": requests}
        threads.append(thread | {"live": live, "free": rng.choice(["fifo", "lifo"]), "think": think})
    return mapping(*threads, seed=seed)


def scaled(value: Any, factor: int) -> Any:
    """A mapping, or what is in one, in which every time is so many times as long."""
    if isinstance(value, dict):
        return {key: scaled(entry, factor) for key, entry in value.items()}
    if isinstance(value, list):
        return [scaled(entry, factor) for entry in value]
    time = time_of(value)
    return value if time is None else f"{time * factor}ps"


def rewritten(value: Any) -> Any:
    """The same in which every time is in the smallest unit, or in the next one."""
    if isinstance(value, dict):
        return {key: rewritten(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rewritten(entry) for entry in value]
    time = time_of(value)
    return value if time is None else f"{time}ps" if time % 3 else f"{time / TIME_UNITS['us']:.6f}us"


def time_of(value: Any) -> int | None:
    """The picoseconds of a text that is a time."""
    if not isinstance(value, str) or not value[0].isdigit() or not value.endswith("s"):
        return None
    try:
        time: int = parse_time(value)
    except ValueError:
        return None
    assert format_time(time)
    return time


def _thread(rng: random.Random, family: str, n: int) -> Mapping:
    thread = _common(rng, f"t{n}") | {"cpus": rng.choice([[0], [1], [0, 1]])}
    orders = [0, 0, rng.randint(0, 3), rng.randint(0, 10)]
    requests: list[Mapping] = [{"order": order, "gfp": rng.choice(FLAGS)} for order in orders[: rng.randint(1, 4)]]
    if rng.random() < 0.3:
        requests.append({"bytes": "20KiB", "contiguous": False, "weight": 0.5})
    if family == "everything":
        requests += rng.sample(OTHERS, 2)
    thread["requests"] = requests
    if rng.random() < 0.3:
        return thread | {"lifetime": rng.choice(["immediate", "3us", {"exponential": "5us"}, "immortal"])}
    thread |= {"live": rng.choice([1, 20, 200]), "free": rng.choice(["random", "fifo", "lifo"])}
    if len(thread["cpus"]) > 1 and rng.random() < 0.5:
        thread["remote_frees"] = 0.5
    if rng.random() < 0.3:
        del thread["operations"]
        thread["phases"] = [{"do": "fill"}, {"do": "churn", "operations": rng.randint(1, 90)}, {"do": "empty"}]
    return thread


def _common(rng: random.Random, name: str) -> Mapping:
    think = rng.choice(["0ps", "200ns", {"exponential": "300ns"}, {"uniform": {"low": "10ns", "high": "1us"}}])
    return {"name": name, "operations": rng.randint(20, 400), "think": think}


def _interrupt(rng: random.Random) -> Mapping:
    kind = rng.choice(["irq", "softirq"])
    arrivals = {"poisson": rng.choice(["3us", "10us"])}
    return {
        "name": "nic",
        "kind": kind,
        "arrivals": arrivals,
        "batch": rng.randint(1, 4),
        "lifetime": rng.choice(["immediate", "4us"]),
        "requests": [{"gfp": "GFP_ATOMIC", "order": rng.randint(0, 2)}],
    }
