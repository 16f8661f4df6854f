"""Machines under memory pressure against what a real kernel did, and against recordings that were tampered with."""

import copy
from pathlib import Path
from typing import Any

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import sections_of
from kmsim.validate.report import Section

FOLDER = Path(__file__).parent / "recordings" / "pressure"
FILES = sorted(FOLDER.glob("*.json.gz"))
ARM = FOLDER / "a64-612-64k-1G-c2-pressure-reclaim.json.gz"
SWAP = FOLDER / "x86-612-4k-256M-c2-pressure-swp.json.gz"
ORDER_1 = "reclaim.noswap.04_o1_kernel"
MAPPED = "reclaim.noswap.12_mapped_o0_again"
ACTIVATING = "reclaim.noswap.13_with_shrinkers"
COMPACTED = "reclaim.noswap.05_o3_kernel"


@pytest.fixture(scope="module")
def arm() -> Recording:
    return read(ARM)


@pytest.fixture(scope="module")
def swap() -> Recording:
    return read(SWAP)


def only(recording: Recording, *names: str) -> Recording:
    """A copy with some sections only."""
    lab = {name: copy.deepcopy(recording.lab[name]) for name in ("consts", "pnames", *names)}
    return Recording(recording.consts, {}, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording)}


def events_of(section: dict[str, Any], letter: str) -> list[list[Any]]:
    return [event for event in section["events"] if event[0] == letter]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_every_request_step_and_state_is_reproduced(path: Path) -> None:
    sections = list(sections_of(read(path)))
    assert [section for section in sections if not section.agrees] == []
    assert sum(section.rows for section in sections if section.name.endswith(".after")) > 0 or "slow" in path.name


def test_every_answer_of_every_recorded_state_is_reproduced(arm: Recording) -> None:
    suitable = [section for section in sections_of(arm) if section.name.endswith(".suitable")]
    assert len(suitable) == 11
    assert sum(section.rows for section in suitable) == 25578
    assert [section for section in suitable if not section.agrees] == []


def test_recordings_have_what_they_are_for() -> None:
    """Steps of each kind that is compared: scans, pages reclaimed, activated and kept, retries, pages for swap."""
    letters = set()
    for path in FILES:
        for section in read(path).lab.values():
            if isinstance(section, dict):
                letters |= {event[0] for event in section.get("events", [])}
    assert set("KTSRZdenisarvktAL") <= letters


def test_an_altered_answer_is_found(arm: Recording) -> None:
    changed = only(arm, "pfresh")
    of_zone = changed.lab["pfresh"]["state"]["czone"]["DMA"]
    of_zone["rows"][5][3] ^= 1
    of_zone["wmark_ok"]["1,3,32"] = "0" + of_zone["wmark_ok"]["1,3,32"][1:]
    section = by_name(changed)["pfresh.suitable"]
    assert section.rows - section.equal == 2
    assert section.why == "state, czone 'DMA', order 5, compaction_suitable: recorded 0, kmsim 1"


def test_a_counter_that_does_not_fit_the_free_lists_is_found(arm: Recording) -> None:
    changed = only(arm, "pfresh")
    changed.lab["pfresh"]["state"]["czone"]["DMA"]["zstat"]["nr_free_pages"][1] += 1
    section = by_name(changed)["pfresh.suitable"]
    assert (section.rows, section.equal) == (1, 0)
    assert "pages are counted as free" in section.why


def test_a_page_that_the_recording_says_was_reclaimed_in_another_place_is_found(arm: Recording) -> None:
    changed = only(arm, ORDER_1)
    event = events_of(changed.lab[ORDER_1], "r")[7]
    event[1] += 1
    section = by_name(changed)[ORDER_1]
    assert section.equal == section.rows - 1
    assert section.why.endswith(f"recorded ['r', {event[1]}], kmsim ['r', {event[1] - 1}]")


@pytest.mark.parametrize("letter", "eniaskv")
def test_an_altered_step_is_found(swap: Recording, letter: str) -> None:
    name = "reclaim.swap.25_o0_noio"
    changed = only(swap, name)
    events_of(changed.lab[name], letter)[0][1] += 1
    section = by_name(changed)[name]
    assert section.equal == section.rows - 1
    assert f"recorded ['{letter}', " in section.why


def test_a_step_that_is_missing_is_found(arm: Recording) -> None:
    changed = only(arm, ORDER_1)
    section = changed.lab[ORDER_1]
    at = section["events"].index(events_of(section, "s")[0])
    del section["events"][at]
    for row in section["rows"]:
        row[10] -= row[10] > at
    assert by_name(changed)[ORDER_1].equal < len(section["rows"])


@pytest.mark.parametrize("column", range(3, 10))
def test_an_altered_column_is_found(arm: Recording, column: int) -> None:
    changed = only(arm, ORDER_1)
    changed.lab[ORDER_1]["rows"][-1][column] += 1
    section = by_name(changed)[ORDER_1]
    assert (section.rows - section.equal, "row 62: recorded" in section.why) == (1, True)


def test_the_order_of_the_lru_list_decides(arm: Recording) -> None:
    changed = only(arm, ORDER_1)
    changed.lab[ORDER_1]["before"]["lru"]["inactive_file"].reverse()
    assert not by_name(changed)[ORDER_1].agrees


def test_accessed_bits_decide(arm: Recording) -> None:
    changed = only(arm, ACTIVATING)
    flags = changed.lab[ACTIVATING]["before"]["lru"]["inactive_file.flags"]
    flags[1::2] = [flag & ~2048 for flag in flags[1::2]]
    assert not by_name(changed)[ACTIVATING].agrees


@pytest.mark.parametrize("what", ["inactive_file", "active_file", "file_cost", "nonresident_age", "refaults"])
def test_an_altered_end_is_found(arm: Recording, what: str) -> None:
    changed = only(arm, MAPPED)
    lru = changed.lab[MAPPED]["after"]["lru"]
    if isinstance(lru[what], int):
        lru[what] += 1
    else:
        lru[what] = lru[what][::-1]
    section = by_name(changed)[f"{MAPPED}.after"]
    assert section.rows - section.equal == 1
    assert section.why.startswith(f"{what}: ")


def test_a_section_is_scored_up_to_the_first_row_in_which_scanners_start(arm: Recording) -> None:
    rows = by_name(only(arm, COMPACTED))[COMPACTED]
    assert (rows.rows, rows.equal, rows.skipped) == (3, 3, 1)
    assert rows.why == "from row 3 on compaction decides, which is not modelled"


def test_that_a_scanner_starts_in_kmsim_alone_is_found(arm: Recording) -> None:
    changed = only(arm, COMPACTED)
    section = changed.lab[COMPACTED]
    for event in events_of(section, "B"):
        event[0] = "G"
    rows = by_name(changed)[COMPACTED]
    assert (rows.rows, rows.equal) == (4, 3)
    assert rows.why == "row 3: compaction would start in kmsim"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda lru: lru["inactive_file"].append(lru["active_file"][0]), "are not those of"),
        (lambda lru: lru.update(inactive_file=lru["inactive_anon"]), "are not those of"),
        (lambda lru: lru.update(active_anon=[1 << 24, 1 << 25]), "no zone has page frame"),
        (lambda lru: lru.update(active_anon=[[16498, 0, 2]]), "a page frame is in two places"),
        (lambda lru: lru.pop("file_cost"), "no 'file_cost'"),
    ],
)
def test_lru_lists_that_cannot_be_are_refused(arm: Recording, damage: Any, why: str) -> None:
    changed = only(arm, ORDER_1)
    damage(changed.lab[ORDER_1]["before"]["lru"])
    section = by_name(changed)[ORDER_1]
    assert section.equal == 0
    assert why in section.why
