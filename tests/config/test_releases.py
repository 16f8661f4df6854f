"""What is said of a kernel release: the notes of a machine, and the table of docs/releases.md."""

from pathlib import Path

import pytest

from kmsim.config import from_mapping
from kmsim.config.memory_map import GIB, MemoryRange, default_zone_ends
from kmsim.config.releases import NOT_RECORDED, SIMULATED_AS, notes_of
from kmsim.mm.kernels import KERNELS, NEWEST_RELEASE

DOCUMENT = Path(__file__).parents[2] / "docs" / "releases.md"


def table() -> dict[str, dict[str, str]]:
    """The cells of the document's table, by release and by what they are of."""
    rows = [line.strip("|").split("|") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    (_, *releases), _, *rest = [[cell.strip() for cell in row] for row in rows]
    return {release: {row[0]: row[n] for row in rest} for n, release in enumerate(releases, 1)}


def test_the_table_has_each_release_and_says_of_each_cell_where_it_comes_from() -> None:
    assert list(table()) == list(KERNELS)
    for cells in table().values():
        assert all(cell.startswith(("**R**", "**S**")) for cell in cells.values())


@pytest.mark.parametrize("release", NOT_RECORDED)
def test_what_a_machine_says_was_not_recorded_is_what_the_table_says(release: str) -> None:
    from_source = {what for what, cell in table()[release].items() if cell.startswith("**S**")}
    assert set(NOT_RECORDED[release]) == from_source
    note = notes_of(release, release)[0]
    assert note.startswith(f"Linux {release}, from its source, not recorded: ")
    assert all(what in note for what in from_source)


def test_the_newest_release_needs_no_note() -> None:
    assert notes_of(f"{NEWEST_RELEASE}.3", NEWEST_RELEASE) == []


def test_a_release_that_is_simulated_as_another_says_so_first() -> None:
    for release, row in SIMULATED_AS.items():
        first, *rest = notes_of(f"{release}.288", row)
        assert first == f"Linux {release} is simulated as {row}: not recorded"
        assert rest == notes_of(row, row)


@pytest.mark.parametrize(
    ("release", "start", "ends"),
    [
        ("5.4.288", 1 * GIB, (0, 4 * GIB)),
        ("5.5.0", 1 * GIB, (2 * GIB, 4 * GIB)),
        ("5.10.21", 0, (1 * GIB, 4 * GIB)),
        ("5.10.21-lab", 5 * GIB, (6 * GIB, 8 * GIB)),
        ("5.10.22", 1 * GIB, (4 * GIB, 4 * GIB)),
        ("5.10", 1 * GIB, (4 * GIB, 4 * GIB)),
        ("6.12.117", 1 * GIB, (4 * GIB, 4 * GIB)),
    ],
)
def test_the_dma_zone_of_arm64_is_the_releases(release: str, start: int, ends: tuple[int, int]) -> None:
    found = default_zone_ends("arm64", release, (MemoryRange.between(start, start + 8 * GIB),))
    assert ends == (found.DMA, found.DMA32)
    of_x86 = default_zone_ends("x86-64", release, (MemoryRange.between(start, start + 8 * GIB),))
    assert (of_x86.DMA, of_x86.DMA32) == (16 << 20, 4 * GIB)


def test_a_machine_of_an_old_kernel_has_its_zones_unless_it_says_its_own() -> None:
    keys = {"arch": "arm64", "cpus": 2, "memory": "8GiB", "kernel_release": "5.10.21"}
    own = {"zone_ends": {"DMA": "1GiB", "DMA32": "4GiB", "Normal": "16GiB"}}
    workload = {"threads": [{"name": "a"}]}
    by_release, said = (from_mapping({"machine": keys | more, "workload": workload}).machine for more in ({}, own))
    assert (by_release.zone_ends.DMA, by_release.zone_ends.DMA32) == (2 * GIB, 4 * GIB)
    assert said.zone_ends.DMA == GIB
