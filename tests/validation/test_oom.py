"""Whom a real kernel killed, process by process, and recordings of that which were tampered with."""

import copy
from pathlib import Path
from typing import Any

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import sections_of
from kmsim.validate.report import Section

PATH = Path(__file__).parent / "recordings" / "parts" / "x86-612-4k-256M-c2-pressure-oom.json.gz"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return read(PATH)


def changed(recording: Recording) -> Recording:
    """A copy that may be altered."""
    return Recording(recording.consts, dict(recording.files), copy.deepcopy(recording.lab))


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording) if section.name.startswith("oom.")}


def test_every_process_has_the_kernels_points_and_the_victim_is_the_same(recording: Recording) -> None:
    found = by_name(recording)
    assert [(section.name, section.rows, section.equal) for section in found.values()] == [
        (f"oom.{n}", 10 - n, 10 - n) for n in range(5)
    ]
    victims = [section["events"][-1] for name, section in recording.lab.items() if name in found]
    assert len({pid for _, pid in victims}) == 5


@pytest.mark.parametrize("column", range(1, 8))
def test_an_altered_number_of_a_process_is_found(recording: Recording, column: int) -> None:
    other = changed(recording)
    step = other.lab["oom.2"]["events"][2]
    assert step[0] == "o"
    step[column] += 1
    section = by_name(other)["oom.2"]
    assert section.equal < section.rows
    assert "step 2: recorded ['o', " in section.why


def test_another_victim_is_found(recording: Recording) -> None:
    other = changed(recording)
    other.lab["oom.3"]["events"][-1][1] = 40
    assert by_name(other)["oom.3"].why == "step 5: recorded ['O', 40], kmsim ['O', 43]"


def test_another_answer_is_found(recording: Recording) -> None:
    other = changed(recording)
    other.lab["oom.3"]["result"] = 0
    assert by_name(other)["oom.3"].why == "step 6: recorded ['result', 0], kmsim ['result', 1]"


def test_one_that_was_killed_is_not_looked_at_again(recording: Recording) -> None:
    other = changed(recording)
    del other.lab["oom.0"]["events"][-1]
    section = by_name(other)["oom.1"]
    assert section.rows == 10
    assert section.why.startswith("step 5: recorded ['o', 43, ")


def test_one_that_could_not_be_killed_is_looked_at_if_the_table_says_otherwise(recording: Recording) -> None:
    other = changed(recording)
    other.files["oomprocs.1"] = other.files["oomprocs.1"].replace("-1000", "-999")
    assert not by_name(other)["oom.1"].agrees


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("events", [["o", 1]], "is no step of out_of_memory"),
        ("events", [["U", 0, "GFP_KERNEL"]], "is not of whole numbers"),
        ("events", 5, "'events' is not of the kind list"),
        ("totalpages", -1, "'totalpages' is not an integer from 0"),
    ],
)
def test_what_is_no_such_section_is_damaged(recording: Recording, key: str, value: Any, why: str) -> None:
    other = changed(recording)
    other.lab["oom.4"][key] = value
    section = by_name(other)["oom.4"]
    assert (section.rows, section.equal) == (1, 0)
    assert section.why.startswith("damaged: RecordingError: ")
    assert why in section.why


def test_without_the_table_of_processes_nothing_can_be_said(recording: Recording) -> None:
    other = changed(recording)
    del other.files["oomprocs.0"]
    assert "has no 'oomprocs.0'" in by_name(other)["oom.0"].why
