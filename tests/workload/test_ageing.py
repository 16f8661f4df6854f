"""Ageing: the wanted index, on legal machines of every kind, by seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.memblock import Boot, boot_machine, recount
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import PG_BUDDY, Machine
from kmsim.mm.snapshot import save
from kmsim.mm.vmstat import unusable_free_index
from kmsim.workload.ageing import age, index_of
from tests.params import params


def boot(mib: int, *, page_shift: int = 12, max_page_order: int = 10, nr_cpus: int = 2) -> Boot:
    """A machine with a few reserved pieces: x86-64 with 4 KiB pages, else arm64."""
    pmd_order = page_shift - 3
    thp = max_page_order >= pmd_order
    x86 = page_shift == 12
    start = 256 if x86 else 1 << (30 - page_shift)
    ram = (PfnRange(start, start + (mib << 20 >> page_shift)),)
    reserved = (PfnRange(start + 3, start + 33), PfnRange(start + 200, start + 207))
    pageblock_order = min(pmd_order, max_page_order)
    orders = {"max_page_order": max_page_order, "pageblock_order": pageblock_order, "pmd_order": pmd_order}
    shape = params(page_shift=page_shift, thp_built_in=thp, nr_cpus=nr_cpus, **orders)
    return Boot("x86-64" if x86 else "arm64", shape, False, ram, reserved)


def aged(of: Boot, order: int, unusable_index: float, seed: int = 1) -> Machine:
    m = boot_machine(of)
    age(m, order, unusable_index, np.random.default_rng(seed))
    recount(m)
    return m


def kernels_index(m: Machine, order: int) -> float:
    nr_free = [sum(int(zone.nr_free[k]) for zone in m.zones) for k in range(16)]
    return unusable_free_index(nr_free, order) / 1000


@pytest.mark.parametrize("unusable_index", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("order", [1, 2, 5, 9, 10])
def test_the_index_is_the_wanted_one(order: int, unusable_index: float) -> None:
    m = aged(boot(512), order, unusable_index)
    assert abs(kernels_index(m, order) - unusable_index) <= 0.01 + 1e-9
    assert index_of(m, order) == kernels_index(m, order)


@pytest.mark.parametrize(("page_shift", "max_page_order"), [(12, 3), (12, 15), (14, 11), (16, 13), (16, 8)])
def test_every_page_size_and_order_can_be_aged(page_shift: int, max_page_order: int) -> None:
    for order in (1, max_page_order - 2):
        m = aged(boot(1024, page_shift=page_shift, max_page_order=max_page_order), order, 0.5)
        assert abs(kernels_index(m, order) - 0.5) <= 0.01


@pytest.mark.parametrize("unusable_index", [0.0, 0.5, 1.0])
def test_machines_of_all_largest_orders_are_aged_alike(unusable_index: float) -> None:
    shares = []
    for largest in (6, 8, 9, 15):
        m = aged(boot(1024, max_page_order=largest), 9, unusable_index)
        nr_frames = int(m.params[0].nr_frames)
        frames = np.zeros(-(-nr_frames // 512) * 512, np.int64)
        for pfn in np.flatnonzero(m.pages["page_flags"][:nr_frames] & PG_BUDDY):
            frames[pfn : pfn + (1 << int(m.pages["order"][pfn]))] = 1
        whole = frames.reshape(-1, 512).all(axis=1).sum() * 512
        shares.append(1 - whole / frames.sum())
        assert abs(index_of(m, 9) - shares[-1]) < 0.001
    assert np.allclose(shares, unusable_index, atol=0.011)


@pytest.mark.parametrize("seed", range(12))
def test_a_small_machine_is_aged_to_the_page(seed: int) -> None:
    m = aged(boot(64, page_shift=16, max_page_order=13), 4, 0.5, seed)
    assert kernels_index(m, 4) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("seed", range(4))
def test_memory_that_lies_in_two_zones_is_never_one_block(seed: int) -> None:
    ram = (PfnRange(0, 1 << 14),)  # of two blocks of order 13, the boundary of DMA parts the first
    m = aged(boot(64, max_page_order=13)._replace(ram=ram, reserved=()), 13, 0.4, seed)
    assert abs(kernels_index(m, 13) - 0.4) <= 0.01


def test_a_third_of_memory_is_free_in_blocks_of_every_mobility() -> None:
    m = aged(boot(512), 9, 0.5)
    assert m.zones["nr_free_pages"].sum() == pytest.approx(m.zones["managed_pages"].sum() / 3, rel=0.02)
    assert {migratetype for state in save(m) for _, migratetype in state.lists} == {0, 1, 2}
    assert set(m.pageblocks) == {0, 1, 2}


def test_nothing_but_free_lists_and_pageblocks_tells_it_from_a_fresh_machine() -> None:
    fresh, m = boot_machine(boot(64)), aged(boot(64), 3, 0.5)
    kept = ("watermark", "watermark_boost", "zone_flags", "managed_pages", "nr_reserved_highatomic")
    for name in kept:
        assert np.array_equal(m.zones[name], fresh.zones[name])
    for name in ("count", "high", "batch", "pcp_flags", "alloc_factor", "free_count", "vm_stat_diff"):
        expected = 0 if name == "vm_stat_diff" else fresh.pcps[name]
        assert np.array_equal(m.pcps[name], np.broadcast_to(expected, m.pcps[name].shape))
    assert np.array_equal(m.events, fresh.events)
    assert np.array_equal(m.contexts, fresh.contexts)


def test_the_same_seed_gives_the_same_machine_and_another_another() -> None:
    one, same, other = (aged(boot(64), 3, 0.5, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pages, same.pages)
    assert not np.array_equal(one.pages, other.pages)


def test_what_a_small_memory_cannot_have_is_refused_with_what_it_can() -> None:
    with pytest.raises(ValueError, match=r"^only 1 can be reached: no block of order 13 fits into this memory$"):
        aged(boot(64, page_shift=16, max_page_order=13), 13, 0.5)
    with pytest.raises(
        ValueError, match=r"^only 0 to 0\.\d+ and 1 can be reached at order 9 on this memory$"
    ) as caught:
        aged(boot(64, page_shift=16, max_page_order=13), 9, 0.9)
    highest = float(str(caught.value).split()[3])
    assert kernels_index(aged(boot(64, page_shift=16, max_page_order=13), 9, highest), 9) == pytest.approx(
        highest, abs=0.01
    )


def test_an_index_of_1_can_always_be_had() -> None:
    assert kernels_index(aged(boot(64, page_shift=16, max_page_order=13), 13, 0.995), 13) == 1


@pytest.mark.parametrize(
    ("order", "unusable_index", "why"),
    [
        (0, 0.5, "order 0 is not one from 1 to 20"),
        (21, 0.5, "order 21 is not one from 1 to 20"),
        (3, -0.1, "-0.1 is not an index from 0 to 1"),
        (3, float("nan"), "nan is not an index from 0 to 1"),
    ],
)
def test_what_is_no_order_or_index_is_refused(order: int, unusable_index: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        aged(boot(64), order, unusable_index)


@given(
    shape=st.sampled_from([(12, 10), (12, 4), (14, 11), (16, 13), (16, 5)]),
    mib_and_cpus=st.tuples(st.integers(64, 400), st.integers(1, 9)),
    order=st.integers(1, 4),
    unusable_index=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_any_machine_of_some_size_can_have_any_index_at_small_orders(
    shape: tuple[int, int], mib_and_cpus: tuple[int, int], order: int, unusable_index: float, seed: int
) -> None:
    page_shift, max_page_order = shape
    mib, nr_cpus = mib_and_cpus
    of = boot(mib, page_shift=page_shift, max_page_order=max_page_order, nr_cpus=nr_cpus)
    m = aged(of, order, unusable_index, seed)
    assert abs(kernels_index(m, order) - unusable_index) <= 0.01 + 1e-9
