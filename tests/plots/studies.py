"""Made-up results of studies: any axes, any number of replications, numbers that have the shape of real ones.

`made_up_study` needs no simulation: latency rises with the page size and falls with the largest order,
and each replication shifts all points of its seed alike, as common random numbers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from kmsim.config.design import Dropped
from kmsim.config.inquiry import ComparisonConfig, FigureConfig, Inquiry
from kmsim.config.product import Axis
from kmsim.config.responses import FILTERS, MEASURES, ResponseConfig
from kmsim.metrics.page_map import MEMORY_MAP_COLUMNS, ON_PCP_LIST, PAGE_STATES, RESERVED, USED
from kmsim.study.results import StudyResult

KIB = 1 << 10
RESPONSES = {  # measure, middle, how much the first and the second axis move it, spread of a run
    "latency_mean": ("latency_mean", 180.0, 0.25, -0.03, 0.04),
    "latency_p999": ("latency_p999", 4_200.0, 0.6, -0.06, 0.12),
    "zone_lock_wait": ("lock_wait_share", 12.0, -0.5, -0.02, 0.15),
    "unusable_index": ("unusable_index", 0.35, 0.2, 0.08, 0.05),
    "memory_held": ("memory_held", 9_000.0, 0.9, 0.0, 0.02),
}
SIZES = {"4KiB": 4096.0, "16KiB": 16384.0, "64KiB": 65536.0}


def page_size_axis() -> Axis:
    """Three page sizes."""
    return Axis("page_size", tuple(SIZES), tuple(SIZES.values()), "B")


def order_axis(*orders: int) -> Axis:
    """Values of max_page_order."""
    levels = orders or (6, 8, 9, 10, 11, 13)
    return Axis("max_page_order", tuple(map(str, levels)), tuple(map(float, levels)), "")


def workload_axis(*names: str) -> Axis:
    """Workloads by name."""
    return Axis("workload", names or ("net-rx", "mixed-server"), None, "")


@dataclass(frozen=True)
class MadeUpStudy(StudyResult):
    """A study's result in memory, whose histograms, series and maps are made up when asked for."""

    def histograms(self, runs: Sequence[int] | None = None) -> pd.DataFrame:
        """Allocation latency, log-normal, by bucket."""
        rows = self.runs if runs is None else self.runs[self.runs["run"].isin(list(runs))]
        return pd.concat([_histogram(run) for run in rows.itertuples()] or [_histogram(None)], ignore_index=True)

    def series(self, runs: Sequence[int] | None = None) -> pd.DataFrame:
        """Free memory and mean latency over a second."""
        rows = self.runs if runs is None else self.runs[self.runs["run"].isin(list(runs))]
        return pd.concat([_series(run) for run in rows.itertuples()] or [_series(None)], ignore_index=True)

    def run(self, number: int) -> Any:
        """A run's result, of which there are samples of free memory, and a memory map of 64 MiB at two instants."""
        run = self.runs[self.runs["run"] == number].iloc[0]
        samples, page_size = _samples(number, int(run["max_page_order"])), int(run["page_size_bytes"])
        tables = {"memory_map": _memory_map(number)}
        return SimpleNamespace(tables=tables, samples=samples, page_size_bytes=page_size)


def made_up_study(
    *axes: Axis,
    replications: int = 10,
    responses: Mapping[str, tuple[str, float, float, float, float]] = RESPONSES,
    seed: int = 1,
    comparisons: Sequence[ComparisonConfig] | None = None,
    figures: Sequence[FigureConfig] = (),
    **texts: str,
) -> MadeUpStudy:
    """A study over these axes (page size, largest order and workload unless told), with illegal points dropped.

    `responses` are by name (measure, middle, effect of the first axis, effect of the second, spread); one that is
    no measure is taken as a unit. `texts`: name, question.
    """
    axes = axes or (page_size_axis(), order_axis(), workload_axis())
    names = [axis.name for axis in axes]
    points, dropped = [], []
    for number, labels in enumerate(product(*(axis.levels for axis in axes))):
        by_name = dict(zip(names, labels, strict=True))
        if by_name.get("page_size") == "64KiB" and int(by_name.get("max_page_order", 0)) > 11:
            dropped.append(Dropped(number, by_name, "64KiB << 13 is more than a section of memory"))
        else:
            points.append((number, by_name))
    runs = _runs(points, replications, seed)
    inquiry = Inquiry.model_construct(
        question=texts.get("question", "What do larger pages cost?"),
        responses=tuple(_response(name, measure) for name, (measure, *_) in responses.items()),
        comparisons=(comparison(axes[0]),) if comparisons is None else tuple(comparisons),
        figures=tuple(figures),
    )
    units = {response.name: response.unit for response in inquiry.responses}
    return MadeUpStudy(
        path=None,
        name=texts.get("name", "made-up"),
        seed=seed,
        provenance={"versions": {"kmsim": "0.1.0"}, "seed": seed, "notes": []},
        config_yaml="name: made-up\n",
        inquiry=inquiry,
        axes=axes,
        dropped=tuple(dropped),
        runs=runs,
        responses=_values(runs, axes, responses, units),
    )


def _response(name: str, measure: str) -> Any:
    if measure not in MEASURES:
        named = {"name": name, "unit": measure, "measure": name, "meaning": f"a made-up {name}", "of_kind": None}
        return SimpleNamespace(**dict.fromkeys(FILTERS), **named)
    at = {"order": 9} if measure == "unusable_index" else {}
    return ResponseConfig(name=name, measure=measure, **at)


def comparison(axis: Axis, responses: tuple[str, ...] = ()) -> ComparisonConfig:
    """Every level of an axis against its first."""
    name = f"{axis.name}_from_{axis.levels[0]}"  # as it is: no door has looked at it
    return ComparisonConfig.model_construct(axis=axis.name, name=name, responses=responses)


def _runs(points: list[tuple[int, dict[str, str]]], replications: int, seed: int) -> pd.DataFrame:
    """One row a run, ordered by point and replication."""
    numbers = np.repeat([number for number, _ in points], replications)
    table = pd.DataFrame({"run": np.arange(len(numbers)), "point": numbers})
    table["replication"] = np.tile(np.arange(replications), len(points))
    table["seed"] = seed + table["replication"]
    table["file"], table["stuck"], table["failed"] = "", "", False
    labels = pd.DataFrame([labels for _, labels in points]).iloc[np.repeat(np.arange(len(points)), replications)]
    labels = labels.reset_index(drop=True)
    page = labels["page_size"].map(SIZES).fillna(4096) if "page_size" in labels else pd.Series(4096.0, table.index)
    order = labels.get("max_page_order", pd.Series("10", table.index)).astype(int)
    table["page_size_bytes"], table["max_page_order"] = page.astype("int64"), order
    table["pageblock_order"] = np.minimum(order, 9)
    table["largest_block_bytes"] = table["page_size_bytes"] << order.to_numpy()
    table["operations"], table["simulated_ns"] = 100_000, 1e9
    return pd.concat([table.drop(columns=[c for c in labels if c in table]), labels], axis=1)


def _values(
    runs: pd.DataFrame, axes: tuple[Axis, ...], responses: Mapping[str, Any], units: dict[str, str]
) -> pd.DataFrame:
    """Every response of every run: the whole run, no batches."""
    rng = np.random.default_rng(1)
    of_seed = rng.normal(size=int(runs["replication"].max() if len(runs) else 0) + 1)
    steps = [runs[axis.name].map({level: k for k, level in enumerate(axis.levels)}).to_numpy() for axis in axes]
    steps += [np.zeros(len(runs), int)] * (3 - len(steps))
    parts = []
    for name, (_, middle, first, second, spread) in responses.items():
        noise = spread * (0.8 * of_seed[runs["replication"]] + 0.6 * rng.normal(size=len(runs)))
        value = middle * np.exp(first * steps[0] + second * steps[1] + 0.1 * steps[2] * (1 + steps[0]) + noise)
        beside = {"failed_share": np.nan, "model_error": np.nan}
        facts = {"batch": -1, "response": name, "unit": units[name], "value": value, **beside}
        parts.append(runs[["run", "point", "replication"]].assign(**facts))
    return pd.concat(parts, ignore_index=True)


def _histogram(run: Any) -> pd.DataFrame:
    """The buckets of one run's 20,000 allocations and frees; of no run, none."""
    keys = {"api": "pages", "gfp": "GFP_KERNEL", "order": 0, "cache": ""}
    parts = []
    for kind, median in (("alloc", 150), ("free", 90)) if run is not None else ():
        rng = np.random.default_rng([int(run.run), median])
        slow = np.log2(run.page_size_bytes / 4096) / 4
        latency = rng.lognormal(np.log(median) + slow, 0.7 + 0.2 * slow, 20_000)
        exponent = np.maximum(np.floor(np.log2(np.maximum(latency, 1))) - 5, 0)
        low = np.floor(latency / 2**exponent) * 2**exponent
        table = pd.DataFrame({"low_ns": low, "high_ns": low + 2**exponent})
        counted = table.groupby(["low_ns", "high_ns"]).size().rename("count").reset_index()
        parts.append(counted.assign(run=int(run.run), kind=kind, **keys))
    columns = ["run", "kind", *keys, "low_ns", "high_ns", "count"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _series(run: Any) -> pd.DataFrame:
    """A hundred samples of what is free, and of the mean latency between them."""
    columns = ["run", "series", "zone", "time_ns", "value"]
    if run is None:
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng([int(run.run), 7])
    time = np.linspace(0, 1e9, 101)
    free = 1e9 * np.exp(-time / 4e8 * (1 + np.log2(run.page_size_bytes / 4096) / 8)) + rng.normal(0, 2e7, 101)
    mean = 150 + 50 * time / 1e9 + rng.normal(0, 10, 101)
    parts = [("free_bytes", "Normal", free), ("free_bytes", "DMA32", free / 4), ("alloc_mean_ns", "", mean)]
    tables = [pd.DataFrame({"series": s, "zone": z, "time_ns": time, "value": v}) for s, z, v in parts]
    return pd.concat(tables, ignore_index=True).assign(run=int(run.run))[columns]


def _samples(run: int, largest: int) -> pd.DataFrame:
    """Free pages of two zones by order: ever fewer of the largest blocks, ever more of all others."""
    rng = np.random.default_rng([run, 8])
    time = np.linspace(0, 1e9, 101)
    parts = []
    for order in range(largest + 1):
        share = 8 * np.exp(-time / 3e8) if order == largest else 0.1 + 0.3 * time / 1e9 * rng.random()
        free = ((1e5 * share).astype(int) >> order) << order
        parts += [
            pd.DataFrame({"time_ns": time, "zone": z, "order": order, "free_pages": free}) for z in ("DMA", "DMA32")
        ]
    return pd.concat(parts, ignore_index=True)


def _memory_map(run: int, nr_blocks: int = 32, nr_pages: int = 512) -> pd.DataFrame:
    """Reserved, used, a slab here and there, and what is free, by pageblock."""
    rng = np.random.default_rng([run, 9])
    rows = []
    for time in (0.0, 1e9):
        for block in range(nr_blocks):
            codes = (rng.random(nr_pages) < (0.2 + 0.5 * (time > 0)) * (1 - block / nr_blocks)) * USED
            codes[codes == USED] -= rng.random((codes == USED).sum()) < 0.2
            codes[:8] = ON_PCP_LIST if block % 5 == 0 else codes[:8]
            codes = np.full(nr_pages, RESERVED) if block < 2 else codes
            counts = np.bincount(codes, minlength=len(PAGE_STATES))
            row = {"time_ns": time, "zone": "DMA32", "start_pfn": block * nr_pages, "migratetype": "Movable"}
            row |= {f"nr_{state}": int(count) for state, count in zip(PAGE_STATES, counts, strict=True)}
            rows.append(row | {"pages": codes.astype(np.uint8).tobytes()})
    return pd.DataFrame(rows)[list(MEMORY_MAP_COLUMNS)]
