"""Sections `slub.*` of kernels with sheaves against what a real kernel did, and against tampered recordings."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import compare
from kmsim.validate.report import Section
from kmsim.validate.slub import HANDLE, INDEX, NR_COLUMNS, OP, PREFILLED, RETURNED, SLAB_PFN, TAKEN

FILE = Path(__file__).parent / "recordings" / "releases" / "x86-73-4k-256M-c2-slub.json.gz"
NAMES = ("slub.4096.prefill", "slub.4096.lifo")


@pytest.fixture(scope="module")
def objects() -> Recording:
    return read(FILE)


def only(recording: Recording, name: str) -> Recording:
    """The recording with one section, a copy that a test may change."""
    lab = {key: copy.deepcopy(recording.lab[key]) for key in ("consts", name)}
    return Recording(lab["consts"], {}, lab)


def rows_of(recording: Recording, name: str) -> Section:
    return compare(recording, name)[0]


@pytest.mark.parametrize(("name", "rows"), [("slub.192.prefill", 1578), ("slub.4096.alt", 1200)])
def test_every_object_and_every_sheaf_agrees(objects: Recording, name: str, rows: int) -> None:
    found, cache = compare(objects, name)
    assert (found.rows, found.equal, found.skipped) == (rows, rows, 0)
    assert cache.agrees


@pytest.mark.parametrize("column", range(SLAB_PFN, NR_COLUMNS))
@pytest.mark.parametrize("name", NAMES)
def test_one_altered_number_disagrees(objects: Recording, name: str, column: int) -> None:
    changed = only(objects, name)
    log = changed.lab[name]["log"]
    for row in np.random.default_rng(column).integers(0, len(log), 3).tolist():
        if column == INDEX and log[row][OP] in (PREFILLED, RETURNED):
            continue
        log[row][column] += 1
        section = rows_of(changed, name)
        log[row][column] -= 1
        assert not section.agrees, row
        assert section.why.startswith(f"row {section.equal}, "), row
        if column > INDEX:
            assert section.equal == row


def test_the_first_difference_is_explained(objects: Recording) -> None:
    name = "slub.4096.prefill"
    changed = only(objects, name)
    log = changed.lab[name]["log"]
    assert log[0][:3] == [PREFILLED, 12, 12]
    log[0][SLAB_PFN] = 4
    assert rows_of(changed, name).why == (
        "row 0, a sheaf is prefilled: recorded [4, -1, 0, -1, 0, 0, 1, 2], kmsim [12, -1, 0, -1, 0, 0, 1, 2] "
        "(objects in it, objects of main, of spare, full sheaves in the barn, empty ones, slabs on the node's list, "
        "slabs)"
    )
    log[0][SLAB_PFN] = 12
    log[1][6] = 1
    assert "its lists [0, -1, 1, 0, 1, 2], kmsim [0, -1, 0, 0, 1, 2] (objects of main" in rows_of(changed, name).why


def test_a_sheaf_that_is_taken_from_or_returned_was_prefilled(objects: Recording) -> None:
    name = "slub.4096.prefill"
    for op in (TAKEN, RETURNED):
        changed = only(objects, name)
        log = changed.lab[name]["log"]
        del log[: next(n for n, row in enumerate(log) if row[OP] == op)]
        assert rows_of(changed, name).equal == 0


def test_which_page_a_new_slab_gets_is_input(objects: Recording) -> None:
    name = "slub.4096.lifo"
    changed = only(objects, name)
    for row in changed.lab[name]["log"]:
        row[SLAB_PFN] = 70_000 - row[SLAB_PFN]
    assert rows_of(changed, name).agrees


def set_in_row(column: int, value: object) -> Callable[[list[list[Any]]], object]:
    return lambda log: log[0].__setitem__(column, value)


@pytest.mark.parametrize(
    "damage",
    [
        set_in_row(OP, 5),
        set_in_row(OP, 1.0),
        set_in_row(HANDLE, 0),
        set_in_row(INDEX, 0),
        lambda log: log[1].__setitem__(HANDLE, -1),
        lambda log: log[1].__setitem__(HANDLE, 10**6),
        lambda log: log.append([1, 2]),
    ],
)
def test_damaged_rows_do_not_agree(objects: Recording, damage: Callable[[list[list[Any]]], object]) -> None:
    changed = only(objects, "slub.4096.prefill")
    damage(changed.lab["slub.4096.prefill"]["log"])
    section = rows_of(changed, "slub.4096.prefill")
    assert (section.rows, section.equal) == (1, 0)
    assert section.why.startswith("damaged: ")
