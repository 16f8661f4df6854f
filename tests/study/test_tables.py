"""The tables, exactly, from cores whose numbers a test has filled in."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.metrics.samples import Samples
from kmsim.mm.mmzone import (
    EXTFRAG,
    KSWAPD_WAKEUPS,
    NEEDS_SLOW_PATH,
    NOPAGE,
    PGALLOC,
    PGFREE,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_NORMAL,
)
from kmsim.mm.wants import DONE
from kmsim.sim.core.counted import SPENT
from kmsim.sim.core.records import IDLE, NEVER, START, Core
from kmsim.study.tables import COLUMNS, ON_DEMAND, TIME_PARTS, tables_of
from kmsim.workload.plan import IRQ, SOFTIRQ, THREAD
from tests.study.cores import hand_made_core, observe, simulation_of

NAN = float("nan")
LOCK_STAT = ["acquisitions", "contended", "wait_total", "wait_max", "hold_total", "hold_max"]


def table(core: Core, name: str, **others: Any) -> pd.DataFrame:
    return tables_of(simulation_of(core, **others))[name]


def rows(core: Core, name: str, **others: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in table(core, name, **others).itertuples(index=False)]


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in ON_DEMAND])
def test_a_table_has_its_columns_and_their_types_also_where_nothing_happened(name: str) -> None:
    for made in (
        table(hand_made_core(("GFP_KERNEL", 0)), name),
        table(hand_made_core(), name, end_ps=0),
        table(hand_made_core(), name, samples=Samples()),
    ):
        assert made.astype(COLUMNS[name]).dtypes.equals(made.dtypes)


# ---- operations and histograms


def test_a_row_for_each_kind_flags_order_and_cpu_with_any_operation() -> None:
    core = hand_made_core(("GFP_KERNEL", 3), ("GFP_ATOMIC", 1), ("GFP_KERNEL", 0), ("GFP_NOWAIT", 0))
    observe(core, "alloc", 0, 1, [100])
    observe(core, "alloc", 0, 0, [100])
    observe(core, "alloc", 1, 0, [200])
    observe(core, "alloc", 2, 1, [], failed=3, slow=2)
    observe(core, "free", 1, 1, [100, 100, 199])
    same = (0.1,) * 6
    assert rows(core, "operations") == [
        ("alloc", "pages", "GFP_ATOMIC", 1, "", 0, 1, 0, 0, 0, 4096, 200, *(0.2,) * 6),
        pytest.approx(("alloc", "pages", "GFP_KERNEL", 0, "", 1, 0, 3, 2, 0, 0, 0, *(NAN,) * 6), nan_ok=True),
        ("alloc", "pages", "GFP_KERNEL", 3, "", 0, 1, 0, 0, 0, 4096, 100, *same),
        ("alloc", "pages", "GFP_KERNEL", 3, "", 1, 1, 0, 0, 0, 4096, 100, *same),
        ("free", "pages", "GFP_ATOMIC", 1, "", 1, 3, 0, 0, 0, 0, 399, 0.133, 0.1, 0.199, 0.199, 0.199, 0.199),
    ]


def test_the_buckets_of_a_histogram_are_the_filled_ones() -> None:
    core = hand_made_core(("GFP_KERNEL", 3), ("GFP_KERNEL | __GFP_ZERO", 0))
    observe(core, "free", 0, 1, [100, 7, 100])
    observe(core, "free", 0, 0, [1 << 20])
    observe(core, "alloc", 1, 0, [], failed=1)
    observe(core, "free", 1, 0, [0])
    assert rows(core, "histograms") == [
        ("free", "pages", "GFP_KERNEL", 3, "", 0, 1048.576, 1056.768, 1),
        ("free", "pages", "GFP_KERNEL", 3, "", 1, 0.007, 0.008, 1),
        ("free", "pages", "GFP_KERNEL", 3, "", 1, 0.1, 0.101, 2),
        ("free", "pages", "GFP_KERNEL|__GFP_ZERO", 0, "", 0, 0.0, 0.001, 1),
    ]


def test_quantiles_are_those_of_the_latencies_within_one_percent() -> None:
    rng = np.random.default_rng(5)
    core = hand_made_core(("GFP_KERNEL", 0), ("GFP_ATOMIC", 2), nr_cpus=3)
    latencies = {}
    for n, key in enumerate([("alloc", 0, 0), ("alloc", 0, 2), ("alloc", 1, 1), ("free", 1, 0), ("free", 0, 1)]):
        latencies[key] = rng.lognormal(8 + 2 * n, 1, 2000).astype(np.int64)
        observe(core, *key, latencies[key])
    found = table(core, "operations").set_index(["kind", "gfp", "cpu"])
    for (kind, request, cpu), values in latencies.items():
        row = found.loc[(kind, ("GFP_KERNEL", "GFP_ATOMIC")[request], cpu)]
        for name, q in {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}.items():
            assert row[name] == pytest.approx(np.quantile(values, q, method="inverted_cdf") / 1000, rel=0.01)
        assert row["mean_ns"] == pytest.approx(values.mean() / 1000, rel=1e-12)
        assert row["max_ns"] == values.max() / 1000


def test_no_quantile_lies_above_the_longest() -> None:
    core = hand_made_core(("GFP_KERNEL", 0))
    observe(core, "alloc", 0, 0, [1 << 30])
    (row,) = table(core, "operations").to_dict("records")
    assert row["p50_ns"] == row["p999_ns"] == row["max_ns"] == (1 << 30) / 1000


def test_a_total_without_its_latency_is_our_mistake() -> None:
    core = hand_made_core(("GFP_KERNEL", 0))
    observe(core, "alloc", 0, 0, [100, 200])
    core.totals[0, 0, 0] = 3
    with pytest.raises(AssertionError):
        tables_of(simulation_of(core))


# ---- locks and CPUs


def test_a_zones_lock_is_listed_if_it_was_taken() -> None:
    core = hand_made_core()
    core.locks[LOCK_STAT][ZONE_DMA32] = (9, 2, 3_500, 2_500, 90_000, 20_000)
    core.locks[LOCK_STAT][ZONE_NORMAL] = (1, 0, 0, 0, 1_000, 1_000)
    assert rows(core, "locks") == [
        ("zone DMA32", 9, 2, 3.5, 2.5, 90.0, 20.0),
        ("zone Normal", 1, 0, 0.0, 0.0, 1.0, 1.0),
    ]


def spend(core: Core, cpu: int, *parts_ps: int) -> None:
    """Let a CPU have spent so much on each part, in the order of `SPENT`."""
    for name, part_ps in zip(SPENT, parts_ps, strict=True):
        core.cpus[f"{name}_ps"][cpu] = part_ps


def test_an_idle_cpus_last_stretch_counts_as_idle() -> None:
    core = hand_made_core(nr_cpus=2)
    spend(core, 0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000)
    core.cpus[0].idle_since = 60_000
    spend(core, 1, 10_000, 0, 0, 0, 0, 0, 7_000)
    core.cpus[1].level = THREAD
    core.cpus[1].idle_since = 5_000
    assert rows(core, "cpus", end_ps=100_000) == [
        (0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 47.0, 32.0, 100.0),
        (1, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 83.0, 100.0),
    ]


def test_of_a_price_that_is_still_passing_only_what_has_passed_counts() -> None:
    # At 100 ns, CPU 0 is on its way to a thread until 130 ns. CPU 1 is on its way to an irq until 104 ns,
    # and was on its way to a softirq, with 20 ns to go; below that, a thread is within an operation.
    core = hand_made_core(nr_cpus=2)
    core.cpus["level"] = (THREAD, IRQ)
    spend(core, 0, 50_000, 0, 0, 0, 80_000, 0, 0)
    core.cpus[0].busy[THREAD] = 1
    core.runs[0].then = START
    core.runs[0].end_ps = 130_000
    core.runs[0].left_ps = 80_000
    spend(core, 1, 40_000, 0, 0, 0, 3_000, 60_000, 0)
    for level, then, end_ps, left_ps in ((IRQ, START, 104_000, 30_000), (SOFTIRQ, START, 90_000, 20_000)):
        run = core.runs[level * 2 + 1]
        run.then, run.end_ps, run.left_ps = then, end_ps, left_ps
    core.cpus[1].busy[:] = 1
    core.runs[1].then = DONE
    core.runs[1].left_ps = 10_000
    assert rows(core, "cpus", end_ps=100_000) == [
        (0, 50.0, 0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 100.0),
        (1, 40.0, 0.0, 0.0, 0.0, 3.0, 36.0, 0.0, 21.0, 100.0),
    ]


def test_the_parts_of_each_cpus_time_are_all_of_it() -> None:
    rng = np.random.default_rng(2)
    core = hand_made_core(nr_cpus=50)
    for cpu in range(50):
        spend(core, cpu, *(int(part) for part in rng.integers(0, 100_000, len(SPENT))))
    core.cpus["level"] = rng.choice([IDLE, THREAD], 50)
    core.cpus["idle_since"] = rng.integers(700_000, 800_000, 50)
    cpus = table(core, "cpus", end_ps=1_000_001)
    assert cpus[list(TIME_PARTS)].sum(axis=1).to_list() == pytest.approx([1000.001] * 50, rel=1e-12)
    assert (cpus["run_ns"] == 1000.001).all()
    assert (cpus["unfinished_ns"] > 0).any()


def test_a_cpu_that_spent_more_than_there_was_is_our_mistake() -> None:
    core = hand_made_core()
    core.cpus["level"] = THREAD
    core.cpus[1].instructions_ps = 1_001
    with pytest.raises(AssertionError, match="a CPU spent more time than there was"):
        tables_of(simulation_of(core, end_ps=1_000))


# ---- memory and events


def test_samples_and_memory_have_the_machines_zones() -> None:
    core = hand_made_core()
    core.m.zones[ZONE_DMA].nr_free[:4] = (1, 0, 2, 3)
    tables = tables_of(simulation_of(core))
    assert tables["samples"].groupby(["time_ns", "zone"]).size().to_dict() == {
        (time, zone): 4 for time in (0.0, 1000.0) for zone in ("DMA", "DMA32")
    }
    assert tables["memory"]["free_pages"].tolist() == [33, 0, 33, 0]
    assert tables["memory"]["free_huge_frames"].tolist() == [3, 0, 3, 0]


def test_events_have_the_kernels_names_and_ours_say_so() -> None:
    core = hand_made_core()
    m = core.m
    m.events[PGALLOC + ZONE_DMA32] = 11
    m.events[PGFREE] = 12
    m.events[[KSWAPD_WAKEUPS, EXTFRAG, NOPAGE, NEEDS_SLOW_PATH]] = (13, 14, 15, 16)
    m.zones[ZONE_DMA].nr_free_pages = 17
    vmstat = dict(rows(core, "vmstat"))
    zones = ("dma", "dma32", "normal", "movable")
    zero = {f"{event}_{zone}": 0 for event in ("pgalloc", "allocstall") for zone in zones}
    assert vmstat == zero | {
        "nr_free_pages": 17,
        "pgalloc_dma32": 11,
        "pgfree": 12,
        "vmscan:mm_vmscan_wakeup_kswapd": 13,
        "kmem:mm_page_alloc_extfrag": 14,
        "kmsim:failed_without_reclaim": 15,
        "kmsim:needs_slow_path": 16,
        "kmsim:exact_pages_saved": 0,
        "kmsim:largest_kmalloc_bytes": 0,
    }


def test_a_large_run_has_its_tables_soon() -> None:
    core = hand_made_core(*(("GFP_KERNEL", order) for order in range(10)), nr_cpus=256)
    rng = np.random.default_rng(1)
    for k in range(20):
        for cpu in range(256):
            filled = 2000 + rng.permutation(600)[:300]
            core.counts[k, cpu, filled] = 7
            core.totals[k, cpu, :3] = (2100, 10**12, NEVER)
    operations = table(core, "operations")
    assert len(operations) == 20 * 256
    assert (operations["p50_ns"] < operations["p99_ns"]).all()
