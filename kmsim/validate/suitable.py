"""Sections of a machine under pressure: what its checks answer, in every state that was recorded.

An answer is a pure function of the state: the fragmentation index, the share of free memory in too small blocks,
whether compaction makes sense (`rows`), and whether a zone is above a mark, for each kind of request (`wmark_ok`). All
of them are compared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.compaction import compaction_suitable
from kmsim.mm.mmzone import WMARK_HIGH, ZONE_MOVABLE, Machine
from kmsim.mm.vmstat import extfrag_for_order, fragmentation_index
from kmsim.mm.watermark import wmark_pages, zone_watermark_ok
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.recorded import Recording, RecordingError, field
from kmsim.procfs.recorded_pressure import PressureState, build_counted_machine, czone_of, pressure_states
from kmsim.procfs.recorded_state import is_cut
from kmsim.validate.replay import as_rows
from kmsim.validate.report import Section, skipped

INDICES = ("fragmentation_index", "extfrag_for_order", "compaction_suitable")
Answers = NDArray[np.int64]


@entry
def index_answers(m: Machine, z: int, answers: Answers) -> None:
    """Fill in the rows, whose first column is the order."""
    for row in range(answers.shape[0]):
        order = answers[row, 0]
        answers[row, 1] = fragmentation_index(m.zones[z].nr_free, order)
        answers[row, 2] = extfrag_for_order(m.zones[z].nr_free, order)
        answers[row, 3] = compaction_suitable(m, z, order, ZONE_MOVABLE)


@entry
def watermark_answers(m: Machine, z: int, kinds: Answers, answers: Answers) -> None:
    """Fill in, for each kind of request (mark, highest type of zone, alloc_flags) and each order, whether it may."""
    free_pages = max(int(m.zones[z].nr_free_pages), 0)
    for kind in range(kinds.shape[0]):
        mark = wmark_pages(m, z, kinds[kind, 0])
        for order in range(answers.shape[1]):
            answers[kind, order] = zone_watermark_ok(m, z, order, mark, kinds[kind, 1], kinds[kind, 2], free_pages)


def suitable_section(recording: Recording, name: str) -> Section:
    """The answers in all states of a section."""
    total = Section(f"{name}.suitable")
    for moment, state in pressure_states(recording, name).items():
        if is_cut(state["zones"]):
            return skipped(total.name, f"{moment} has a list that was too long to be recorded whole")
        try:
            _score(recording, state, moment, total)
        except RecordingError as error:
            total.rows += 1
            total.why = total.why or f"{moment}: {error}"
    return total


class _Table(NamedTuple):
    """Recorded answers of one zone: what each row and each column of them is called."""

    rows: list[str]
    columns: list[str]
    recorded: Answers


def _score(recording: Recording, state: PressureState, moment: str, total: Section) -> None:
    """Add what came of one state."""
    m = build_counted_machine(recording, state)
    nr_orders = int(recording.consts["max_order_inclusive"]) + 1
    zones = populated_zones(m)
    for zone in state["zones"]:
        where, of_zone = czone_of(state, zone)
        z = zones[zone.get("nid", 0), zone["name"]]
        indices = as_rows(field(of_zone, where, "rows", list), 1 + len(INDICES))
        if not np.isin(indices[:, 0], range(nr_orders)).all():
            raise RecordingError(f"{where}: orders of 'rows' are not from 0 to {nr_orders - 1}")
        got = indices.copy()
        index_answers(m, z, got)
        orders = [f"order {order}" for order in indices[:, 0].tolist()]
        _add(total, _Table(orders, list(INDICES), indices[:, 1:]), got[:, 1:], f"{moment}, {where}")
        checks = _recorded_checks(field(of_zone, where, "wmark_ok", dict), where, nr_orders)
        answers = np.zeros_like(checks.recorded)
        watermark_answers(m, z, as_rows([_kind(key, where) for key in checks.rows], 3), answers)
        _add(total, checks, answers, f"{moment}, {where}, wmark_ok")


def _recorded_checks(wmark_ok: dict[str, Any], where: str, nr_orders: int) -> _Table:
    for key, digits in wmark_ok.items():
        if not isinstance(digits, str) or len(digits) != nr_orders or not set(digits) <= set("01"):
            raise RecordingError(f"{where}: wmark_ok {key!r} is not {nr_orders} digits of 0 and 1")
    recorded = np.array([[int(digit) for digit in digits] for digits in wmark_ok.values()], np.int64)
    return _Table(list(wmark_ok), [f"order {order}" for order in range(nr_orders)], recorded.reshape(-1, nr_orders))


def _kind(key: str, where: str) -> list[int]:
    """The mark, the highest type of zone and the alloc_flags that a key of `wmark_ok` names."""
    words = key.split(",")
    if len(words) != 3 or not all(word.isdigit() and len(word) < 6 for word in words):
        raise RecordingError(f"{where}: wmark_ok {key!r} does not name a mark, a type of zone and flags")
    kind = [int(word) for word in words]
    if kind[0] > WMARK_HIGH or kind[1] > ZONE_MOVABLE:
        raise RecordingError(f"{where}: wmark_ok {key!r} names no mark or no type of zone")
    return kind


def _add(total: Section, table: _Table, got: Answers, where: str) -> None:
    """Count the answers of one zone, and say which is the first that differs."""
    equal = got == table.recorded
    total.rows += equal.size
    total.equal += int(equal.sum())
    if not equal.all() and not total.why:
        row, column = (int(index) for index in np.argwhere(~equal)[0])
        answer = f"{where}, {table.rows[row]}, {table.columns[column]}"
        total.why = f"{answer}: recorded {table.recorded[row, column]}, kmsim {got[row, column]}"
