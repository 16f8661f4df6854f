"""Samples of free memory: a row for each populated zone and order."""

import numpy as np
import pandas as pd
import pytest

from kmsim.metrics import samples as of_samples
from kmsim.metrics.samples import FREE_BLOCKS_COLUMNS, MEMORY_COLUMNS, Samples
from kmsim.mm import vmstat
from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_NORMAL,
    Machine,
    new_machine,
)
from tests.params import params


def machine_with(free: dict[int, dict[int, int]], nr_cpus: int = 1, pmd_order: int = 9) -> Machine:
    """A machine of which only the counts are filled in: free blocks by zone and order; zones of 64 pages."""
    orders = {"max_page_order": 3, "pageblock_order": 3, "pmd_order": pmd_order}
    m = new_machine(params(nr_frames=1 << 8, nr_cpus=nr_cpus, thp_built_in=False, **orders))
    for z, blocks in free.items():
        m.zones[z].start_pfn = 64 * z
        m.zones[z].end_pfn = 64 * (z + 1)
        m.zones[z].present_pages = 64
        for order, count in blocks.items():
            m.zones[z].nr_free[order] = count
    return m


def one_sample(free: dict[int, dict[int, int]]) -> pd.DataFrame:
    samples = Samples()
    m = machine_with(free)
    samples.take(m, 1_500)
    return samples.free_blocks_table(m).frame()


def test_a_zone_without_memory_has_no_rows() -> None:
    table = one_sample({ZONE_DMA: {}, ZONE_NORMAL: {}})
    assert table["zone"].unique().tolist() == ["DMA", "Normal"]
    assert table["order"].tolist() == [0, 1, 2, 3] * 2


def test_times_are_nanoseconds_and_columns_are_named() -> None:
    table = one_sample({ZONE_DMA32: {}})
    assert list(table.columns) == list(FREE_BLOCKS_COLUMNS)
    assert table["time_ns"].unique().tolist() == [1.5]


def test_blocks_pages_and_indices_are_those_of_the_free_lists() -> None:
    # 4 + 2*2 + 1*8 = 16 free pages.
    table = one_sample({ZONE_DMA32: {0: 4, 1: 2, 3: 1}}).set_index("order")
    assert table["nr_free"].tolist() == [4, 2, 0, 1]
    assert table["free_pages"].tolist() == [4, 4, 0, 8]
    assert table["unusable_index"].tolist() == [0, 4 / 16, 8 / 16, 8 / 16]
    # Wherever a block of the order is free the kernel's index is -1: nothing would fail.
    assert (table["fragmentation_index"] == -1).all()


def test_an_order_that_would_fail_says_whether_fragmentation_is_why() -> None:
    table = one_sample({ZONE_DMA32: {0: 64}}).set_index("order")
    # kernel: 1000 - (1000 + 64 * 1000 / 8) / 64, in thousandths
    assert table["fragmentation_index"][3] == pytest.approx(0.860, abs=0.001)
    assert table["unusable_index"].tolist() == [0, 1, 1, 1]


def test_a_second_sample_at_one_instant_replaces_the_first() -> None:
    samples = Samples()
    m = machine_with({ZONE_DMA: {0: 1}})
    samples.take(m, 0)
    samples.take(m, 1000)
    m.zones[ZONE_DMA].nr_free[0] = 7
    samples.take(m, 1000)
    table = samples.free_blocks_table(m).frame()
    assert table[table["order"] == 0]["nr_free"].tolist() == [1, 7]
    assert table["time_ns"].tolist() == [0.0] * 4 + [1.0] * 4
    assert samples.memory_table(m).frame()["free_pages"].tolist() == [1, 7]


def test_a_sample_is_not_changed_by_what_happens_later() -> None:
    samples = Samples()
    m = machine_with({ZONE_DMA: {0: 1}})
    samples.take(m, 0)
    before = samples.free_blocks_table(m).frame(), samples.memory_table(m).frame()
    m.zones[ZONE_DMA].nr_free[0] = 7
    m.pcps["count"] = 3
    m.pageblocks[0] = MIGRATE_UNMOVABLE
    samples.take(m, 1)
    after = samples.free_blocks_table(m).frame(), samples.memory_table(m).frame()
    for old, new in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(old, new[new["time_ns"] == 0])
    assert samples.memory_table(m).frame()["pageblocks_unmovable"].tolist() == [0, 1]


def test_the_tables_of_no_samples_have_their_columns() -> None:
    m = machine_with({ZONE_DMA: {0: 1}})
    nothing = {"free_blocks_table": FREE_BLOCKS_COLUMNS, "memory_table": MEMORY_COLUMNS}
    for made, columns in nothing.items():
        table = getattr(Samples(), made)(m).frame()
        assert table.astype(columns).dtypes.equals(table.dtypes)
    assert len(Samples().free_blocks_table(m).frame()) == len(Samples().memory_table(m).frame()) == 0


def test_memory_says_where_each_zones_pages_and_pageblocks_are() -> None:
    m = machine_with({ZONE_DMA: {0: 5, 2: 3, 3: 1}, ZONE_DMA32: {}}, nr_cpus=2, pmd_order=2)
    m.pcps["count"] = [4, 3, 0, 2, 9, 9, 9, 9]  # by zone and CPU
    m.pageblocks[[0, 1, 2]] = MIGRATE_UNMOVABLE
    m.pageblocks[3] = MIGRATE_RECLAIMABLE
    m.pageblocks[8] = MIGRATE_HIGHATOMIC
    samples = Samples()
    samples.take(m, 2_000_000)
    assert samples.memory_table(m).frame().to_dict("list") == {
        "time_ns": [2000.0, 2000.0],
        "zone": ["DMA", "DMA32"],
        "free_pages": [5 + 12 + 8, 0],
        "pcp_pages": [7, 2],
        "free_huge_frames": [3 + 2, 0],
        "largest_free_order": [3, -1],
        "pageblocks_unmovable": [3, 0],
        "pageblocks_movable": [4, 7],
        "pageblocks_reclaimable": [1, 0],
        "pageblocks_highatomic": [0, 1],
    }


def test_a_machine_whose_blocks_are_smaller_than_a_huge_page_has_none_free() -> None:
    m = machine_with({ZONE_DMA: {3: 4}}, pmd_order=9)
    samples = Samples()
    samples.take(m, 0)
    assert samples.memory_table(m).frame()["free_huge_frames"].tolist() == [0]


def test_the_indices_of_many_samples_are_those_of_the_kernels_arithmetic() -> None:
    rng = np.random.default_rng(1)
    nr_free = rng.integers(0, 1 << rng.integers(0, 20, (500, 11)))
    nr_free[rng.random((500, 11)) < 0.6] = 0
    for many, one in (
        (of_samples.unusable_index, vmstat.unusable_free_index),
        (of_samples.fragmentation_index, vmstat.fragmentation_index),
    ):
        expected = [[one([int(n) for n in row], order) for order in range(11)] for row in nr_free]
        assert many(nr_free).tolist() == expected
