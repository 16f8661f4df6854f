"""Machines under memory pressure against what a real kernel did, and against recordings that were tampered with."""

import copy
from pathlib import Path

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import sections_of
from kmsim.validate.report import Section

ARM = Path(__file__).parent / "recordings" / "pressure" / "a64-612-64k-1G-c2-pressure-reclaim.json.gz"
FIRST = "reclaim.noswap.01_o0_kernel"


@pytest.fixture(scope="module")
def arm() -> Recording:
    return read(ARM)


def only(recording: Recording, *names: str) -> Recording:
    """A copy with some sections only."""
    lab = {name: copy.deepcopy(recording.lab[name]) for name in ("consts", "pnames", *names)}
    return Recording(recording.consts, {}, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording)}


def test_every_answer_of_every_recorded_state_is_reproduced(arm: Recording) -> None:
    suitable = [section for section in sections_of(arm) if section.name.endswith(".suitable")]
    assert len(suitable) == 11
    assert sum(section.rows for section in suitable) == 25578
    assert [section for section in suitable if not section.agrees] == []


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
