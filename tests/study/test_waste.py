"""What a request of some bytes really takes, by the way it is asked for."""

import pytest

from kmsim.config import ConfigError
from kmsim.study.limits import machine_named
from kmsim.study.waste import WasteRow, sizes_of, waste_of

MACHINE = "x86-612-4k-256M-c2"


@pytest.fixture(scope="module")
def rows() -> dict[tuple[int, str], WasteRow]:
    sizes = [1, 96, 100, 4096, 8193, 200_100, 600_100, 1_000_100, 2_200_100, 4_200_100, 1 << 30]
    found = waste_of(machine_named(MACHINE), sizes)
    assert [row.api for row in found[:5]] == ["kmalloc", "own cache", "alloc_pages", "alloc_pages_exact", "vmalloc"]
    assert len(found) == 5 * len(sizes)
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
    """The book Linux Kernel Programming, whose percentages are cut, not rounded."""
    row = rows[size, "kmalloc"]
    assert (row.taken_bytes, int(row.waste_percent)) == (taken, percent)


def test_beyond_the_largest_block_only_vmalloc_is_left(rows: dict[tuple[int, str], WasteRow]) -> None:
    assert [rows[4_200_100, api].fails for api in ("kmalloc", "own cache", "alloc_pages", "alloc_pages_exact")] == [
        True
    ] * 4
    assert rows[4_200_100, "vmalloc"].taken_bytes == 1026 * 4096
    assert all(row.fails for (size, _), row in rows.items() if size == 1 << 30)


def test_a_slabs_rest_is_shared_by_its_objects(rows: dict[tuple[int, str], WasteRow]) -> None:
    own = rows[100, "own cache"]
    assert own.taken_bytes == 4096 / 39
    assert own.source == "39 objects in order 0"
    assert rows[96, "kmalloc"].taken_bytes == pytest.approx(4096 / 42)
    assert rows[96, "kmalloc"].source == "kmalloc-96"
    assert rows[1, "kmalloc"].taken_bytes == 8


def test_exact_pages_leave_less_than_a_page_over(rows: dict[tuple[int, str], WasteRow]) -> None:
    for (size, api), row in rows.items():
        if api in ("alloc_pages_exact", "vmalloc") and not row.fails:
            assert 0 <= row.taken_bytes - size < 4096
    assert rows[8193, "alloc_pages"].taken_bytes == 16384
    assert rows[8193, "alloc_pages_exact"].taken_bytes == 12288
    assert rows[8193, "kmalloc"].source == "order 2"
    assert rows[4096, "alloc_pages"].waste_percent == 0


def test_pages_of_64_kib_waste_more() -> None:
    taken = {row.api: row.taken_bytes for row in waste_of(machine_named("a64-612-64k-1G-c2"), [200_100])}
    assert taken == {
        "kmalloc": 262_144,
        "own cache": 524_288 / 2,
        "alloc_pages": 262_144,
        "alloc_pages_exact": 262_144,
        "vmalloc": 262_144,
    }


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
