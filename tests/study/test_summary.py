"""The tables on the screen: over all CPUs, at the end of the run."""

import numpy as np
import pandas as pd
import pytest

from kmsim.study.runner import run_study
from kmsim.study.store import Result
from kmsim.study.summary import fragmentation_summary, operations_summary
from kmsim.study.tables import COLUMNS
from tests.studies import lock_prices_only, study

FACTS = {"name": "made up", "page_size_bytes": 4096, "notes": []}


def made_up(**tables: list[tuple[object, ...]]) -> Result:
    frames = {name: pd.DataFrame(tables.get(name, []), columns=list(COLUMNS[name])) for name in COLUMNS}
    return Result(frames, "", FACTS)


def test_cpus_are_added_up_and_means_weighted() -> None:
    nothing = (0.0,) * 4
    result = made_up(
        operations=[
            ("alloc", 0, 0, 1, 2, 2, 100.0, *nothing, 100.0),
            ("alloc", 0, 1, 3, 1, 0, 500.0, *nothing, 900.0),
            ("free", 0, 0, 2, 0, 0, 50.0, *nothing, 50.0),
        ],
        histograms=[
            ("alloc", 0, 0, 100.0, 100.5, 1),
            ("alloc", 0, 1, 300.0, 301.0, 2),
            ("alloc", 0, 1, 896.0, 903.0, 1),
            ("free", 0, 0, 49.875, 50.0, 2),
        ],
    )
    alloc, free = operations_summary(result).to_dict("records")
    assert (alloc["count"], alloc["failed"], alloc["needs_slow_path"]) == (4, 3, 2)
    assert alloc["mean_ns"] == (100 + 3 * 500) / 4
    assert (alloc["p50_ns"], alloc["p99_ns"], alloc["max_ns"]) == (300.5, 899.5, 900.0)
    assert (free["p50_ns"], free["max_ns"]) == (49.9375, 50.0)


def test_operations_that_all_failed_have_no_latency() -> None:
    none = (float("nan"),) * 5
    result = made_up(operations=[("alloc", 9, 0, 0, 7, 7, *none, 0.0)])
    (row,) = operations_summary(result).to_dict("records")
    assert (row["count"], row["failed"]) == (0, 7)
    assert np.isnan([row["mean_ns"], row["p50_ns"], row["p99_ns"]]).all()


def test_no_quantile_lies_above_the_longest() -> None:
    threads = [{"operations": 400, "live": 60, "requests": [{"order": order}]} for order in (0, 3, 4, 9)]
    result = run_study(study(*threads))
    summary = operations_summary(result)
    assert (summary["p50_ns"] <= summary["p99_ns"]).all()
    assert (summary["p99_ns"] <= summary["max_ns"]).all()
    quantiles = result.operations[["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"]].to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_quantiles_of_a_story_are_its_latencies() -> None:
    result = run_study(study({"operations": 2, "live": 1, "requests": [{"order": 4}]}, costs=lock_prices_only()))
    summary = operations_summary(result).set_index("kind")
    assert summary["count"].to_dict() == {"alloc": 2, "free": 2}
    assert summary.loc["alloc", "p50_ns"] == pytest.approx(76, rel=0.004)
    assert summary.loc["alloc", "p99_ns"] == pytest.approx(176, rel=0.004)
    assert summary["mean_ns"].to_dict() == {"alloc": 126, "free": 200}


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


def test_a_run_that_ends_on_a_sample_has_a_fragmentation_table() -> None:
    result = run_study(study({"cpus": [0], "operations": 1}, costs=lock_prices_only(), run={"sample_every": "76ns"}))
    table = fragmentation_summary(result)
    assert table["order"].tolist() == list(range(11))
    assert table["DMA32_free_blocks"].sum() > 0


def test_a_cpus_waiting_is_a_share_of_the_run_and_not_of_the_last_interval_of_samples() -> None:
    result = run_study(study({"operations": 2, "live": 1, "requests": [{"order": 4}]}, costs=lock_prices_only()))
    assert result.cpus.to_dict("list") == {"cpu": [0, 1], "lock_wait_ns": [44.0, 59.0], "run_ns": [376.0, 376.0]}
