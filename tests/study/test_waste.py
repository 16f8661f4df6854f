"""What a request of some bytes really takes, by the way it is asked for."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

import kmsim
from kmsim.config import ConfigError, from_mapping
from kmsim.sim.simulation import Simulation
from kmsim.study.waste import APIS, WasteRow, waste_of
from kmsim.study.waste_sizes import Range, sizes_asked, sizes_of
from tests.studies import machine_named

MACHINE = "x86-612-4k-256M-c2"


@pytest.fixture(scope="module")
def rows() -> dict[tuple[int, str], WasteRow]:
    sizes = [1, 96, 100, 4096, 8193, 200_100, 600_100, 1_000_100, 2_200_100, 4_200_100, 1 << 30]
    found = waste_of(machine_named(MACHINE), sizes)
    assert tuple(row.api for row in found[: len(APIS)]) == APIS
    assert len(found) == len(APIS) * len(sizes)
    return {(row.size, row.api): row for row in found}


@pytest.mark.parametrize(
    ("size", "taken", "percent"),
    [
        (100, 128, 28),
        (200_100, 262_144, 31),
        (600_100, 1_048_576, 74),
        (1_000_100, 1_048_576, 4),
        (2_200_100, 4 << 20, 90),
    ],
)
def test_published_roundings_of_kmalloc(
    rows: dict[tuple[int, str], WasteRow], size: int, taken: int, percent: int
) -> None:
    """The book Linux Kernel Programming, whose percentages are of what was asked, and cut, not rounded."""
    row = rows[size, "kmalloc"]
    assert (row.usable_bytes, row.taken_bytes, (row.usable_bytes - size) * 100 // size) == (taken, taken, percent)
    assert row.waste_percent == pytest.approx(100 * (taken - size) / taken)


def test_beyond_the_largest_block_only_vmalloc_is_left(rows: dict[tuple[int, str], WasteRow]) -> None:
    assert [rows[4_200_100, api].fails for api in ("kmalloc", "own cache", "alloc_pages", "alloc_pages_exact")] == [
        True
    ] * 4
    assert rows[4_200_100, "vmalloc"].usable_bytes == 1026 * 4096
    assert all(row.fails for (size, _), row in rows.items() if size == 1 << 30)


def test_a_slabs_rest_is_shared_by_its_objects(rows: dict[tuple[int, str], WasteRow]) -> None:
    own = rows[100, "own cache"]
    assert own.taken_bytes == 4096 / 39
    assert own.source == "39 objects, order 0"
    assert rows[96, "kmalloc"].taken_bytes == pytest.approx(4096 / 42)
    assert rows[96, "kmalloc"].source == "kmalloc-96"
    assert rows[1, "kmalloc"].taken_bytes == 8


def test_exact_pages_leave_less_than_a_page_over(rows: dict[tuple[int, str], WasteRow]) -> None:
    for (size, api), row in rows.items():
        if api in ("alloc_pages_exact", "vmalloc") and not row.fails:
            assert 0 <= row.usable_bytes - size < 4096
    assert rows[8193, "alloc_pages"].taken_bytes == 16384
    assert rows[8193, "alloc_pages_exact"].taken_bytes == 12288
    assert rows[8193, "kmalloc"].source == "order 2"
    assert rows[4096, "alloc_pages"].waste_percent == 0


def test_pages_of_64_kib_waste_more() -> None:
    rows = waste_of(machine_named("a64-612-64k-1G-c2"), [200_100])
    taken = {row.api: row.taken_bytes for row in rows if row.api != "vmalloc"}
    assert taken == {
        "kvmalloc": 262_144,
        "kmalloc": 262_144,
        "own cache": 524_288 / 2,
        "alloc_pages": 262_144,
        "alloc_pages_exact": 262_144,
    }


def test_an_area_takes_its_records_and_page_tables_too(rows: dict[tuple[int, str], WasteRow]) -> None:
    """vm_struct in kmalloc-96, vmap_area in a cache of its own, an array of pointers, 8 bytes of page table a page."""
    records = 4096 / 42 + 4096 / 56
    assert rows[8193, "vmalloc"].taken_bytes == pytest.approx(3 * 4096 + 3 * 8 + 4096 / 128 + records)
    # 1,026 pointers are more than a page: they are an area themselves, of three pages, which has an array of its own.
    array = 3 * 4096 + 3 * 8 + 4096 / 128 + records
    assert rows[4_200_100, "vmalloc"].taken_bytes == pytest.approx(1026 * 4096 + 1026 * 8 + records + array)


def on_free_lists(simulation: Simulation) -> int:
    """Pages on the zones' free lists; nr_free_pages itself lags behind, CPU by CPU."""
    nr_free = simulation.engine.machine.zones["nr_free"]
    return int((nr_free << np.arange(nr_free.shape[1])).sum())


def test_an_area_takes_as_much_of_a_simulated_machine() -> None:
    """To some pages: page tables and slabs are whole ones, of which others may have the rest."""
    size = 1000 * 4096
    (row,) = (row for row in waste_of(machine_named(MACHINE), [size]) if row.api == "vmalloc")
    lost: list[int] = []

    def caller(simulation: Simulation) -> Generator[Any, Any, None]:
        cpu = simulation.cpus[0]
        yield from cpu.vmalloc(size)  # the first slabs and page tables
        yield from cpu.drain_all_pages()
        before = on_free_lists(simulation)
        yield from cpu.vmalloc(size)
        yield from cpu.drain_all_pages()
        lost.append(before - on_free_lists(simulation))

    study = from_mapping({"machine": MACHINE, "workload": {"threads": [{"name": "nobody"}]}})
    kmsim.run(study, processes=[caller])
    assert abs(lost[0] - row.taken_bytes / 4096) < 4


def test_kvmalloc_takes_huge_pages_where_kmalloc_gives_nothing(rows: dict[tuple[int, str], WasteRow]) -> None:
    for size in (1, 100, 8193, 2_200_100):
        assert rows[size, "kvmalloc"] == rows[size, "kmalloc"]._replace(api="kvmalloc")
    row = rows[4_200_100, "kvmalloc"]
    assert (row.usable_bytes, row.source) == (6 << 20, "vmalloc, 1,536 pages")


def test_waste_is_the_share_of_what_is_taken(rows: dict[tuple[int, str], WasteRow]) -> None:
    for row in rows.values():
        if not row.fails:
            assert row.taken_bytes >= row.usable_bytes >= row.size
            assert row.waste_percent == 100 * (row.taken_bytes - row.size) / row.taken_bytes


def test_a_range_has_even_steps_or_every_tooth() -> None:
    assert sizes_asked([], Range("100", "1KiB", "300"), 4096) == [100, 400, 700, 1000]
    found = sizes_asked([], Range("1", "8MiB", None), 4096)
    assert (found[0], found[-1]) == (1, 8 << 20)
    assert {96, 97, 192, 193, 4096, 4097, 12_288, 12_289, 1 << 20, (1 << 20) + 1} <= set(found)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("words", "span", "message"),
    [
        ([], Range(None, None, None), "SIZE: must come with at least one size, or --from and --to, found 'none'"),
        (["5"], Range("1", "8", None), "SIZE: must be left out where --from is given, found '5'"),
        ([], Range("1", None, None), "--from: must come with --to, found '1'"),
        ([], Range(None, None, "8"), "--step: must come with --from and --to, found '8'"),
        ([], Range("8", "4", None), "--to: must be at least 8, found '4'"),
        ([], Range("1", "1MiB", "1"), "--step: must be at least 105B, for at most 10,000 sizes, found '1'"),
        ([], Range("x", "1MiB", None), "--from: must be a size such as 16GiB, found 'x'"),
    ],
)
def test_a_wrong_range_is_refused(words: list[str], span: Range, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        sizes_asked(words, span, 4096)
    assert str(refused.value) == f"kmsim waste: {message}"


def test_sizes_are_bytes_or_have_a_unit() -> None:
    assert sizes_of(["100", "4KiB", "1.5KiB", "1TiB"]) == [100, 4096, 1536, 1 << 40]


def test_all_wrong_sizes_are_named() -> None:
    with pytest.raises(ConfigError) as refused:
        sizes_of(["4KB", "100", "0", "-1", "1.5B", "2TiB", "9" * 50, "\u0663"])
    assert str(refused.value).splitlines() == [
        "kmsim waste: SIZE: must be a size such as 16GiB, found '4KB'",
        "kmsim waste: SIZE: must be at least 1B, found '0'",
        "kmsim waste: SIZE: must be a size such as 16GiB, found '-1'",
        "kmsim waste: SIZE: must be a whole number of bytes, found '1.5B'",
        "kmsim waste: SIZE: must be at most 1TiB, found '2TiB'",
        f"kmsim waste: SIZE: must be at most 1TiB, found '{'9' * 50}'",
        "kmsim waste: SIZE: must be a size such as 16GiB, found '\u0663'",
    ]
