"""The tables on the screen: over all CPUs, at the end of the run."""

import numpy as np
import pandas as pd
import pytest

from kmsim.study.store import Result
from kmsim.study.summary import fragmentation_summary, operations_summary, time_summary
from kmsim.study.tables import COLUMNS
from tests.study.cores import FACTS, hand_made_core, observe, result_of_core

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


def made_up(**tables: list[tuple[object, ...]]) -> Result:
    frames = {name: pd.DataFrame(tables.get(name, []), columns=list(COLUMNS[name])) for name in COLUMNS}
    return Result(frames, "", FACTS)


# ---- operations


def test_cpus_are_added_up_and_means_weighted() -> None:
    core = hand_made_core(("GFP_KERNEL", 0), ("GFP_ATOMIC", 0))
    observe(core, "alloc", 0, 0, [100_000], failed=2, slow=2)
    observe(core, "alloc", 0, 1, [300_000, 300_000, 900_000], failed=1)
    observe(core, "alloc", 1, 1, [7_000])
    observe(core, "free", 0, 0, [50_000, 50_000])
    rows = [tuple(row) for row in operations_summary(result_of_core(core)).itertuples(index=False)]
    assert [row[:10] for row in rows] == [
        ("alloc", "pages", "GFP_ATOMIC", 0, "", 1, 0, 0, 0, 4096),
        ("alloc", "pages", "GFP_KERNEL", 0, "", 4, 3, 2, 0, 4 * 4096),
        ("free", "pages", "GFP_KERNEL", 0, "", 2, 0, 0, 0, 0),
    ]
    mean, *quantiles, longest = rows[1][10:]
    assert (mean, longest) == (400.0, 900.0)
    assert quantiles == pytest.approx([300, 900, 900, 900], rel=0.004)


def test_quantiles_are_those_of_all_cpus_together_within_one_percent() -> None:
    rng = np.random.default_rng(8)
    core = hand_made_core(("GFP_KERNEL", 0), ("GFP_KERNEL", 3), nr_cpus=4)
    latencies = {
        (kind, request): [rng.lognormal(9 + cpu + request, 0.5, 100 << cpu).astype(np.int64) for cpu in range(4)]
        for kind in ("alloc", "free")
        for request in (0, 1)
    }
    for (kind, request), of_cpus in latencies.items():
        for cpu, values in enumerate(of_cpus):
            observe(core, kind, request, cpu, values)
    summary = operations_summary(result_of_core(core)).set_index(["kind", "order"])
    for (kind, request), of_cpus in latencies.items():
        values = np.concatenate(of_cpus) / 1000
        row = summary.loc[(kind, 3 * request)]
        assert row["count"] == 1500
        assert row["mean_ns"] == pytest.approx(values.mean())
        for name, q in QUANTILES.items():
            assert row[name] == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=0.01)
        assert row["max_ns"] == values.max()


def test_of_one_cpu_the_summary_is_the_table() -> None:
    core = hand_made_core(("GFP_KERNEL", 0), ("GFP_KERNEL", 4))
    rng = np.random.default_rng(4)
    for request in (0, 1):
        observe(core, "alloc", request, 1, rng.integers(1, 1 << 40, 300))
    result = result_of_core(core)
    summary = operations_summary(result)
    assert len(summary) == 2
    pd.testing.assert_frame_equal(summary, result.operations.drop(columns=["cpu", "sum_ps"]))


def test_operations_that_all_failed_have_no_latency() -> None:
    core = hand_made_core(("GFP_KERNEL", 9))
    observe(core, "alloc", 0, 0, [], failed=7, slow=7)
    (row,) = operations_summary(result_of_core(core)).to_dict("records")
    assert (row["count"], row["failed"], row["needs_slow_path"]) == (0, 7, 7)
    assert np.isnan([row[name] for name in ("mean_ns", *QUANTILES, "max_ns")]).all()


def test_nothing_at_all_has_an_empty_summary() -> None:
    result = result_of_core(hand_made_core(), end_ps=0)
    assert len(operations_summary(result)) == 0
    assert (time_summary(result)[["percent", "percent_min", "percent_max"]] == 0).all(axis=None)


# ---- time


def test_the_share_of_each_part_over_all_cpus_and_of_the_extreme_ones() -> None:
    core = hand_made_core(nr_cpus=2)
    core.cpus["lock_wait_ps"] = (250_000, 500_000)
    core.cpus["instructions_ps"] = (100_000, 100_000)
    core.cpus["idle_since"] = (600_000, 1_000_000)
    summary = time_summary(result_of_core(core, end_ps=1_000_000)).set_index("part")
    nothing = (0.0, 0.0, 0.0)
    assert {part: tuple(row) for part, row in zip(summary.index, summary.to_numpy(), strict=True)} == {
        "instructions": (10.0, 10.0, 10.0),
        "cache_lines": nothing,
        "lock_wait": (37.5, 25.0, 50.0),
        "lock_hold": nothing,
        "switch": nothing,
        "interrupt": nothing,
        "idle": (20.0, 0.0, 40.0),
        "unfinished": (32.5, 25.0, 40.0),
    }
    assert summary["percent"].sum() == 100


# ---- fragmentation


def test_fragmentation_is_that_of_the_last_sample() -> None:
    rows = [
        (time, zone, order, int(time) + order, 0, order / 10, -1.0)
        for time in (0.0, 5.0)
        for zone in ("DMA", "Normal")
        for order in (0, 1)
    ]
    table = fragmentation_summary(made_up(samples=rows))
    assert table.to_dict("list") == {
        "order": [0, 1],
        "DMA_free_blocks": [5, 6],
        "DMA_unusable_index": [0.0, 0.1],
        "Normal_free_blocks": [5, 6],
        "Normal_unusable_index": [0.0, 0.1],
    }
