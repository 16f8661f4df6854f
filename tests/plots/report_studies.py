"""Studies to make a page of: made up, of runs that were never simulated; one of them wants to be more than text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.config.design import Dropped
from kmsim.config.inquiry import ComparisonConfig, Inquiry
from kmsim.config.product import Axis
from kmsim.metrics.page_map import MEMORY_MAP_COLUMNS, PAGE_STATES, USED
from kmsim.mm.mmzone import MIGRATETYPE_NAMES
from kmsim.study.results import StudyResult
from kmsim.study.store import SCHEMA_VERSION, Result
from tests.plots.results import churned, drawn_from, kernel, waited

PROVENANCE = {
    "schema_version": SCHEMA_VERSION,
    "seed": 17,
    "command": ["kmsim", "run", "study.yaml"],
    "versions": {"kmsim": "0.1.0", "numpy": "2.0.0"},
    "python": "3.11.2",
    "host": {"system": "Linux", "machine": "x86_64"},
    "notes": [],
}


class Shape(NamedTuple):
    """How much there is in a made-up study."""

    nr_points: int = 4
    nr_replications: int = 3
    nr_snapshots: int = 12
    zones: tuple[tuple[str, int, int], ...] = (("DMA32", 16, 40), ("Normal", 1 << 14, 300))  # first pfn, pageblocks
    pages_per_block: int = 64


SHAPE = Shape()


@cache
def one_result() -> Result:
    """The tables of a run, without a memory map."""
    return drawn_from(waited(churned([*kernel((0, 3)), ("GFP_ATOMIC", 0)])))


def map_rows(shape: Shape, seed: int = 5) -> pd.DataFrame:
    """A memory map in which some pages change from one snapshot to the next."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, first, nr_blocks in shape.zones:
        states = rng.choice(len(PAGE_STATES), (nr_blocks, shape.pages_per_block), p=(0.45, 0.03, 0.12, 0.38, 0.02))
        states[: nr_blocks // 8] = 0
        states[nr_blocks // 8 : nr_blocks // 4] = USED
        types = rng.choice(4, nr_blocks, p=(0.2, 0.65, 0.12, 0.03))
        for snapshot in range(shape.nr_snapshots):
            changed = rng.random(states.shape) < 0.02
            states[changed] = rng.choice((0, 0, 2, USED), changed.sum())
            types[rng.integers(nr_blocks)] = rng.integers(4)
            nr_of = [(states == state).sum(axis=1) for state in range(len(PAGE_STATES))]
            for block in range(nr_blocks):
                counts = [int(nr[block]) for nr in nr_of]
                start_pfn = first + block * shape.pages_per_block
                pages = states[block].astype(np.uint8).tobytes()
                rows.append((250_000 * snapshot, name, start_pfn, MIGRATETYPE_NAMES[types[block]], *counts, pages))
    return pd.DataFrame(rows, columns=list(MEMORY_MAP_COLUMNS))


def result_with_map(rows: pd.DataFrame) -> Result:
    """A run that kept this map."""
    made = one_result()
    return replace(made, tables={**made.tables, "memory_map": rows})


class MadeUp(StudyResult):
    """A study of two runs' tables: even numbers have those of the first, odd ones of the second."""

    results: tuple[Result, Result]

    def run(self, number: int) -> Result:
        return self.results[number % 2]


def study_result(shape: Shape = SHAPE, path: Path | None = None, **changed: Any) -> MadeUp:
    """A study with something of everything: estimates, comparisons, a failed run, a stuck one, a dropped point."""
    axes = _axes(shape.nr_points)
    labels = list(product(*(axis.levels for axis in axes)))
    runs = _runs([axis.name for axis in axes], labels, shape.nr_replications)
    asked = {"name": "by page size", "axis": axes[0].name}
    inquiry = Inquiry(
        question="Does a larger page cost latency where little of it is asked for?",
        comparisons=(ComparisonConfig.model_validate(asked),),
    )
    facts = {
        "path": path,
        "name": "page_size_and_max_order",
        "seed": 17,
        "provenance": PROVENANCE,
        "config_yaml": "name: page_size_and_max_order\nmachine:\n  page_size: 4KiB\n",
        "inquiry": inquiry,
        "axes": axes,
        "dropped": (Dropped(99, {axes[0].name: "64KiB", "workload": "net-rx 0"}, "MAX_PAGE_ORDER above 11"),),
        "runs": runs,
        "responses": _responses(runs),
    }
    made = MadeUp(**{**facts, **changed})
    object.__setattr__(made, "results", tuple(result_with_map(map_rows(shape, seed)) for seed in (1, 2)))
    return made


def plain_run() -> StudyResult:
    """A run alone, that kept no map."""
    rows = map_rows(Shape(zones=()))
    inquiry, facts = Inquiry(), (None, "one_run", 1, PROVENANCE, "name: one_run\n")
    runs = _runs([], [()], 1).assign(failed=False)
    return StudyResult(*facts, inquiry, (), (), runs, _responses(runs), {}, result_with_map(rows))


def _axes(nr_points: int) -> tuple[Axis, ...]:
    """Two axes: page sizes, and as many workloads as that takes."""
    return (
        Axis("machine.page_size", ("4KiB", "16KiB"), (4096.0, 16384.0), "B"),
        Axis("workload", tuple(f"net-rx {n}" for n in range(nr_points // 2)), None, ""),
    )


def _runs(names: Sequence[str], labels: Sequence[tuple[str, ...]], nr_replications: int) -> pd.DataFrame:
    nr_points = len(labels)
    number = np.arange(nr_points * nr_replications)
    point, replication = np.divmod(number, nr_replications)
    runs = pd.DataFrame({"run": number, "point": point, "replication": replication, "seed": 17 + replication})
    runs["file"] = [f"runs/{n:032x}.zip" for n in number]
    runs["stuck"] = np.where(number == 1, "the kernel would panic: out of memory", "")
    runs["failed"] = number == nr_replications * nr_points - 1
    runs["page_size_bytes"] = 4096
    runs["max_page_order"] = 10
    runs["pageblock_order"] = 9
    runs["largest_block_bytes"] = 4 << 20
    runs["operations"] = 100_000
    runs["simulated_ns"] = 2_750_000.0
    for n, name in enumerate(names):
        runs[name] = np.array([label[n] for label in labels], object)[point]
    return runs


def _responses(runs: pd.DataFrame) -> pd.DataFrame:
    """Three numbers of each run; the last of the last point are none."""
    units = {"alloc_mean": "ns", "alloc_p999": "ns", "unusable_index": ""}
    rng = np.random.default_rng(8)
    parts = []
    for n, (name, unit) in enumerate(units.items()):
        value = rng.lognormal(5 + n, 0.1, len(runs)) + 10 * runs["point"]
        last = n == len(units) - 1
        value[last & (runs["point"] == runs["point"].max())] = np.nan
        facts = {"batch": -1, "response": name, "unit": unit, "value": value, "failed_share": 0.0, "model_error": 0.0}
        parts.append(runs[["run", "point", "replication"]].assign(**facts))
    return pd.concat(parts).sort_values(["run", "response"], kind="stable").reset_index(drop=True)


# ---- untrusted

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    '"\' onmouseover="window.hacked = 1" `${window.hacked = 1}` {{script}} \\u003c <!--',
    "\u202eright to left\u2066\u200f \u05e9\u05dc\u05d5\u05dd",
    "NUL \x00 escape \x1b[31m line\u2028separator\u2029",
    "&lt;b&gt; A" * 1_000,
    "long" * 2_500,
)


def hostile_study(path: Path | None = None) -> MadeUp:
    """A study shaped like `study_result` whose every text wants to be more than text."""
    names = (f"{n}{text}" for n, text in enumerate(HOSTILE * 100))
    plain = study_result()
    axes = tuple(axis._replace(name=next(names), levels=(next(names), next(names))) for axis in plain.axes)
    labels = list(product(*(axis.levels for axis in axes)))
    runs = _runs([axis.name for axis in axes], labels, SHAPE.nr_replications)
    runs["stuck"] = np.where(runs["stuck"] == "", "", next(names))
    responses = plain.responses.copy()
    for column in ("response", "unit"):
        responses[column] = responses[column].map({text: next(names) for text in dict.fromkeys(responses[column])})
    inquiry = Inquiry(
        question="".join(HOSTILE),
        comparisons=(ComparisonConfig.model_construct(name=next(names), axis=axes[0].name),),
    )
    facts = {key: [next(names)] if isinstance(value, list) else value for key, value in PROVENANCE.items()}
    made = study_result(
        path=path,
        name="".join(HOSTILE),
        provenance=facts,
        config_yaml="".join(HOSTILE),
        inquiry=inquiry,
        axes=axes,
        dropped=(Dropped(99, {axes[0].name: next(names), axes[1].name: next(names)}, next(names)),),
        runs=runs,
        responses=responses,
    )
    object.__setattr__(made, "results", tuple(_hostile_result(result) for result in plain.results))
    return made


def _hostile_result(result: Result) -> Result:
    tables = {name: table.copy() for name, table in result.tables.items()}
    tables["locks"]["lock"] = list(HOSTILE[: len(tables["locks"])])
    for name in ("operations", "histograms"):
        tables[name]["gfp"] = tables[name]["gfp"].map(dict(zip(("GFP_KERNEL", "GFP_ATOMIC"), HOSTILE, strict=False)))
    zones = dict(zip(tables["memory_map"]["zone"].unique(), HOSTILE, strict=False))
    tables["memory_map"]["zone"] = tables["memory_map"]["zone"].map(zones)
    return replace(result, tables=tables)
