"""Sections `exact` and `kv.*` against what real kernels did, and against recordings that were tampered with."""

import copy
from pathlib import Path

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.exact import exact_section
from kmsim.validate.files import sections_of
from kmsim.validate.kvmalloc import Build, FreeBlocks, kv_sections

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


@pytest.mark.parametrize("path", WITH_KV, ids=lambda path: path.name)
def test_every_scored_kvmalloc_row_agrees_and_altered_ones_do_not(path: Path) -> None:
    recording = read(path)
    names = [name for name in recording.lab if name.startswith("kv.")]
    assert len(names) >= 2
    for name in names:
        (section,) = kv_sections(recording, name)
        assert section.equal == section.rows >= 14
        altered = changed(recording, name)
        for row in altered.lab[name]["rows"]:
            if row[1] != "skipped":
                row[2] ^= 1
        (other,) = kv_sections(altered, name)
        assert (other.rows, other.equal) == (section.rows, 0)


def test_the_sections_are_listed_and_a_damaged_one_does_not_agree() -> None:
    recording = read(FULL[0])
    lab = {"consts": recording.consts, "exact": {"rows": [[1, 2]]}, "kv.fresh": recording.lab["kv.fresh"]}
    sections = {section.name: section for section in sections_of(Recording(recording.consts, {}, lab))}
    assert not sections["exact"].agrees
    assert sections["kv.fresh"].rows == 0
    assert "not recorded" in sections["kv.fresh"].why


ZONE = {"free": 20_000, "highatomic": 0, "boost": 0, "wm": [30, 40, 50], "lowmem_reserve": [0, 0, 0, 0]}
BUILD = Build(page_shift=12, pmd_order=9, max_page_order=10)


@pytest.mark.parametrize(
    ("nr_free", "size", "answer"),
    [
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], 4 << 20, [1, 0, -1, 0, 1]),
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], (4 << 20) + 1, [1, 1, 9, 1536, 0]),
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15], 60 << 20, None),  # as many huge blocks as there are
        ([2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 4 << 20, None),  # one block
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8 << 20, [1, 1, 0, 2048, 0]),
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8193, [1, 1, 0, 3, 0]),
        ([20_000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8193, None),
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 79 << 20, None),  # more than is surely left
        ([20_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1 << 31, [0, 0, -1, 0, 0]),
    ],
)
def test_answers_from_counts_of_free_blocks(nr_free: list[int], size: int, answer: list[int] | None) -> None:
    zone = ZONE | {"nr_free": nr_free, "free": sum(count << order for order, count in enumerate(nr_free))}
    assert BUILD.answer(FreeBlocks([zone]), size) == answer
