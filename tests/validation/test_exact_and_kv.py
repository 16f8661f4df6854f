"""Sections `exact` and `kv.*` against what real kernels did, and against recordings that were tampered with."""

import copy
from pathlib import Path

import pytest

from kmsim.mm.memblock import recount
from kmsim.procfs.buddyinfo import rows
from kmsim.procfs.recorded import Recording, read
from kmsim.procfs.recorded_state import RawState
from kmsim.validate.counted import machine_in
from kmsim.validate.exact import exact_section
from kmsim.validate.files import sections_of
from kmsim.validate.kvmalloc import Build, FreeBlocks, kv_sections, moment_of

FOLDER = Path(__file__).parent / "recordings"
FULL = [FOLDER / name for name in ("x86-612-4k-256M-c2-full.json.gz", "a64-612-64k-4G-c4-full.json.gz")]
WITH_KV = sorted(FOLDER.glob("*-full.json.gz")) + sorted(FOLDER.glob("*-frag.json.gz"))


def changed(recording: Recording, name: str) -> Recording:
    """The recording with one section that a test may change."""
    return Recording(recording.consts, recording.files, recording.lab | {name: copy.deepcopy(recording.lab[name])})


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.name)
def test_every_exact_row_agrees_and_an_altered_one_does_not(path: Path) -> None:
    recording = read(path)
    (section,) = exact_section(recording, "exact")
    assert (section.rows, section.equal, section.skipped) == (84, 84, 0)
    for row, column in ((5, 1), (30, 3), (50, 4), (60, 5)):
        altered = changed(recording, "exact")
        altered.lab["exact"]["rows"][row][column] += 1
        (section,) = exact_section(altered, "exact")
        assert section.equal == 83
        assert "recorded" in section.why


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_KV, ids=lambda path: path.name)
def test_every_scored_kvmalloc_row_agrees_and_altered_ones_do_not(path: Path) -> None:
    recording = read(path)
    names = [name for name in recording.lab if name.startswith("kv.")]
    assert len(names) >= 2
    for name in names:
        (section,) = kv_sections(recording, name)
        assert section.equal == section.rows >= 14
        altered = changed(recording, name)
        for number, row in enumerate(altered.lab[name]["rows"]):
            if row[1] != "skipped":
                row[1 + number % 5] += 1
        (other,) = kv_sections(altered, name)
        assert (other.rows, other.equal) == (section.rows, 0)
        assert "recorded" in other.why


def test_the_sections_are_listed_and_a_damaged_one_does_not_agree() -> None:
    recording = read(FULL[0])
    lab = {"consts": recording.consts, "exact": {"rows": [[1, 2]]}, "kv.fresh": recording.lab["kv.fresh"]}
    sections = {section.name: section for section in sections_of(Recording(recording.consts, {}, lab))}
    assert not sections["exact"].agrees
    assert sections["kv.fresh"].rows == 0
    assert "not recorded" in sections["kv.fresh"].why


@pytest.mark.parametrize("size", [0, -1, 1 << 63, 1.5, "4096", None])
def test_a_size_that_nobody_can_ask_for_is_damage(size: object) -> None:
    altered = changed(read(FULL[0]), "exact")
    altered.lab["exact"]["rows"][5][0] = size
    lab = {name: altered.lab[name] for name in ("consts", "exact")}
    sections = {section.name: section for section in sections_of(Recording(altered.consts, {}, lab))}
    assert sections["exact"].why.startswith("damaged: ")


ZONE = {"free": 20_000, "highatomic": 0, "boost": 0, "wm": [30, 40, 50], "lowmem_reserve": [0, 0, 0, 0]}
ZONE |= {"pcp": [{"batch": 1}]}
BUILD = Build(page_shift=12, pmd_order=9, max_page_order=10, nr_nodes=1)


@pytest.mark.parametrize(
    ("nr_free", "size", "at_edge"),
    [
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], 4 << 20, False),
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], (4 << 20) + 1, False),
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], 60 << 20, True),  # as many huge blocks as there are
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 4 << 20, True),  # one block
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8 << 20, False),
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8193, False),
        ([20_000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8193, True),
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 79 << 20, True),  # more than is surely left
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1 << 31, False),
    ],
)
def test_which_sizes_are_at_the_edge(nr_free: list[int], size: int, at_edge: bool) -> None:
    zone = ZONE | {"nr_free": nr_free, "free": sum(count << order for order, count in enumerate(nr_free))}
    assert BUILD.at_edge(FreeBlocks([zone]), size) == at_edge


def test_on_several_nodes_a_huge_mapping_needs_a_pmds_size_for_each() -> None:
    blocks = FreeBlocks([ZONE | {"nr_free": [0] * 10 + [15]}])
    build = Build(page_shift=12, pmd_order=9, max_page_order=10, nr_nodes=3)
    assert [build.mapping_order(blocks, size) for size in ((6 << 20) - 1, 6 << 20)] == [0, 9]


def counted(raw: RawState, *nr_free: list[int]) -> RawState:
    """The state with these counts of free blocks and no lists."""
    bare = [{key: part for key, part in zone.items() if key != "lists"} for zone in raw]
    return [zone | {"nr_free": counts} for zone, counts in zip(bare, nr_free, strict=True)]


@pytest.mark.parametrize("path", WITH_KV, ids=lambda path: path.name)
def test_a_machine_has_the_recorded_counts_of_free_blocks(path: Path) -> None:
    recording = read(path)
    for name in ("fresh.state", "frag.do", "frag60.do"):
        raw = recording.lab[name]["state"]
        bare = counted(raw, *(zone["nr_free"] for zone in raw))
        for state in (raw, bare):
            m = machine_in(recording, state)
            recount(m)
            assert [list(row.nr_free) for row in rows(m)] == [zone["nr_free"] for zone in raw]
        assert (machine_in(recording, bare).pages == m.pages).all()


def test_answers_are_those_of_the_free_blocks() -> None:
    recording = read(FULL[0])
    raw = recording.lab["fresh.state"]["state"]
    single = counted(raw, [1000] + [0] * 10, [20_000] + [0] * 10)
    pairs = counted(raw, [1000] + [0] * 10, [18_000, 1000] + [0] * 9)
    huge = counted(raw, [1000] + [0] * 10, [4000] + [0] * 8 + [20, 0])
    largest = counted(raw, [1000] + [0] * 10, [2000] + [0] * 9 + [10])
    slab, failed = [1, 0, -1, 0, 1], [0, 0, -1, 0, 0]
    for state, size, answer in (
        (single, 8193, [1, 1, 0, 3, 0]),
        (single, 8 << 20, [1, 1, 0, 2048, 0]),
        (single, 79 << 20, failed),
        (single, 1 << 31, failed),
        (pairs, 8192, slab),
        (pairs, 8193, [1, 1, 0, 3, 0]),
        (huge, 1 << 20, slab),
        (huge, 4 << 20, [1, 1, 9, 1024, 0]),
        (huge, 44 << 20, [1, 1, 0, 11_264, 0]),
        (largest, 4 << 20, slab),
        (largest, (4 << 20) + 1, [1, 1, 9, 1536, 0]),
    ):
        asked = moment_of(recording, state)
        assert asked.answer(size) == answer, (size, answer)
        assert asked.answer(size) == answer


@pytest.mark.parametrize("nr_free", [[1] * 10, [-1] + [0] * 10, [0] * 10 + [10_000], [True] * 11])
def test_counts_that_no_zone_can_have_are_refused(nr_free: list[int]) -> None:
    recording = read(FULL[0])
    raw = recording.lab["fresh.state"]["state"]
    with pytest.raises(ValueError, match="free"):
        machine_in(recording, counted(raw, nr_free, raw[1]["nr_free"]))
