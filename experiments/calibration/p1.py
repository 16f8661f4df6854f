"""P1: what LLFree's benchmarks measured on a Xeon Gold 5320 under Linux 6.0, and the same simulated.

Four curves, of three workloads: of `bulk` the mean allocation (get) and the mean free (put), of
`repeat` the two together, of `rand` the mean free. Shared by the calibration, which changes prices,
and by the studies of it, which take the shipped ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import kmsim
from kmsim.config import load
from kmsim.config.costs import CostsConfig
from kmsim.config.shipped import shipped_file
from kmsim.sim.core.costs import PRICES
from kmsim.units import PS_PER_NS

MEASURED = Path(__file__).parent / "p1.csv"
MACHINE = COSTS = "xeon-gold-5320"
GFP = "GFP_HIGHUSER_MOVABLE|__GFP_THISNODE"
SEED = 1
ERROR_BARS = {0: 15.0, 2: 25.0, 4: 25.0, 7: 25.0, 9: 25.0}  # percent, by order

# The workload that each curve is of, and what is added up in it.
CURVES = {
    "bulk get": ("bulk", ("alloc",)),
    "bulk put": ("bulk", ("free",)),
    "repeat": ("repeat", ("alloc", "free")),
    "rand": ("rand", ("free",)),
}
WORKLOADS = {"bulk": ("bulk get", "bulk put"), "repeat": ("repeat",), "rand": ("rand",)}
PAGES = 1_290_555  # that each of P1's threads took
PAGES_OF_MANY, MANY = 645_277, 14  # from so many cores on
BLOCKS_MIN = 2520  # what P1's threads took of order 9


class Run(NamedTuple):
    """One benchmark on the first so many cores."""

    workload: str
    order: int
    cores: int


class Scale(NamedTuple):
    """How large a run is: one in so many of P1's pages, and of the lines that a cache keeps."""

    one_in: int = 1


def measured() -> pd.DataFrame:
    """P1: curve, order, cores, measured_ns."""
    return pd.read_csv(MEASURED, comment="#")


def runs_of(points: pd.DataFrame) -> list[Run]:
    """The runs behind these points, in the order in which the points name them."""
    names = zip(points["curve"], points["order"], points["cores"], strict=True)
    return list(dict.fromkeys(Run(CURVES[curve][0], int(order), int(cores)) for curve, order, cores in names))


def settings(run: Run, prices: Mapping[str, float], scale: Scale) -> list[str]:
    """What a run changes in the shipped workload; prices in ns."""
    thread = "workload.threads[0]"
    sets = [
        f"machine={MACHINE}",
        f"costs={COSTS}",
        "run.sample_every=1000s",
        f"{thread}.cpus={list(range(run.cores))}",
        f"{thread}.requests[0].gfp={GFP}",
        f"{thread}.requests[0].order={run.order}",
    ]
    sets += [f"costs.{name}.value={round(PS_PER_NS * price)}ps" for name, price in prices.items()]
    if scale.one_in > 1:
        sets.append(f"costs.cache_lines.value={shipped_costs().cache_lines.value // scale.one_in}")
    if run.workload != "repeat":
        sets.append(f"{thread}.live={nr_blocks(run, scale)}")
    return sets


def nr_blocks(run: Run, scale: Scale) -> int:
    """How many blocks each thread takes."""
    nr_pages = (PAGES_OF_MANY if run.cores >= MANY else PAGES) // scale.one_in
    return max(nr_pages >> run.order, BLOCKS_MIN)


def shipped_costs() -> CostsConfig:
    """The shipped price list."""
    return load(shipped_file("workloads", "llfree-repeat"), [f"machine={MACHINE}", f"costs={COSTS}"]).costs


def shipped_prices() -> dict[str, float]:
    """The prices of the shipped list, in ns."""
    costs = shipped_costs()
    return {name: getattr(costs, name).value / PS_PER_NS for name in PRICES}


def latencies(run: Run, prices: Mapping[str, float], scale: Scale) -> dict[str, float]:
    """Simulate a benchmark: the latency, in ns, of each curve that it is behind."""
    study = load(shipped_file("workloads", f"llfree-{run.workload}"), settings(run, prices, scale), seed=SEED)
    operations = kmsim.run(study).operations
    assert not operations["failed"].any()
    by_kind = operations.assign(total=operations["mean_ns"] * operations["count"]).groupby("kind")
    mean = by_kind["total"].sum() / by_kind["count"].sum()
    return {curve: float(sum(mean[kind] for kind in CURVES[curve][1])) for curve in WORKLOADS[run.workload]}


def simulated(
    points: pd.DataFrame,
    prices: Mapping[str, float] | None = None,
    scale: Scale = Scale(),  # noqa: B008
    report: Callable[[Run], None] = lambda _: None,
) -> np.ndarray:
    """The latencies of these points, in their order; with prices (ns) in place of the shipped ones, if given."""
    found: dict[tuple[str, int, int], float] = {}
    for run in runs_of(points):
        report(run)
        for curve, latency in latencies(run, prices or {}, scale).items():
            found[curve, run.order, run.cores] = latency
    return np.array([found[key] for key in keys(points)])


def keys(points: pd.DataFrame) -> Iterable[tuple[str, int, int]]:
    """What names each point."""
    return zip(points["curve"], points["order"], points["cores"], strict=True)


def compared(points: pd.DataFrame, latency: np.ndarray) -> pd.DataFrame:
    """Measured and simulated side by side."""
    error = 100 * (latency / points["measured_ns"] - 1)
    return points.assign(simulated_ns=latency.round(1), error_percent=error.round(1))


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """The point of each curve and order that is simulated worst."""
    size = table["error_percent"].abs()
    return table.loc[size.groupby([table["order"], table["curve"]], sort=False).idxmax()]


def outside(table: pd.DataFrame) -> pd.DataFrame:
    """The points whose error is larger than it may be."""
    return table[table["error_percent"].abs() > table["order"].map(ERROR_BARS)]
