"""Samples of free memory: a row for each populated zone and order."""

import numpy as np
import pandas as pd
import pytest

from kmsim.metrics.samples import COLUMNS, Samples
from kmsim.mm.mmzone import ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, Machine, new_machine


def machine_with(free: dict[int, dict[int, int]]) -> Machine:
    """A machine of which only the counts are filled in: free blocks by zone and order."""
    m = new_machine(
        nr_frames=1 << 14,
        nr_cpus=1,
        page_shift=12,
        max_page_order=3,
        pageblock_order=3,
        pmd_order=9,
        thp_built_in=False,
    )
    for z, blocks in free.items():
        m.zones[z].present_pages = 1 << 13
        for order, count in blocks.items():
            m.zones[z].nr_free[order] = count
    return m


def one_sample(free: dict[int, dict[int, int]]) -> pd.DataFrame:
    samples = Samples()
    samples.take(machine_with(free), 1_500)
    return samples.table()


def test_a_zone_without_memory_has_no_rows() -> None:
    table = one_sample({ZONE_DMA: {}, ZONE_NORMAL: {}})
    assert table["zone"].unique().tolist() == ["DMA", "Normal"]
    assert table["order"].tolist() == [0, 1, 2, 3] * 2


def test_times_are_nanoseconds_and_columns_are_named() -> None:
    table = one_sample({ZONE_DMA32: {}})
    assert tuple(table.columns) == COLUMNS
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
    table = samples.table()
    assert table[table["order"] == 0]["nr_free"].tolist() == [1, 7]
    assert table["time_ns"].tolist() == [0.0] * 4 + [1.0] * 4


def test_the_table_of_no_samples_has_its_columns() -> None:
    assert tuple(Samples().table().columns) == COLUMNS
    assert np.size(Samples().table()) == 0
