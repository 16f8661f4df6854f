"""Sections `steal.*`: one long run of equal requests that drains the zones, pfn by pfn.

Interrupts were on, but where the recording says that all else was `silent`: a foreign allocation may stand between two
requests. It is looked for where kmsim and the recording part, and accepted only if both then agree for the rest of the
run or up to the next one; at most `FOREIGN_MAX` a section.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.mm.mmzone import Machine
from kmsim.mm.snapshot import copy_machine
from kmsim.procfs.recorded import Recording, RecordingError, integer
from kmsim.procfs.recorded_state import build_machine, is_cut
from kmsim.validate.foreign import Foreign, allocations
from kmsim.validate.replay import STEAL_GFPS, Rows, allocate_until, as_rows
from kmsim.validate.report import Section, cut_section
from kmsim.validate.script import lists_at, silent_section, state_section

FOREIGN_MAX = 4
PFNS_MAX = 1 << 24  # assumed: no driver takes more pages in one run
AGREE_MIN = 64  # requests that must agree after a foreign allocation, unless the run ends before


def pfns_of(runs: Any) -> Rows:
    """The pfns that `runs` of [first, step, length] encode; ValueError where they are none, or too many."""
    rows = as_rows(runs, 3)
    if (rows[:, 2] < 0).any() or sum(rows[:, 2].tolist()) > PFNS_MAX:
        raise ValueError(f"runs must be of 0 to {PFNS_MAX} page frames together")
    parts = [first + step * np.arange(length, dtype=np.int64) for first, step, length in rows]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def steal_sections(recording: Recording, name: str) -> list[Section]:
    """The run of one section, and the state after it."""
    steal = recording.lab[name]
    expected = pfns_of(steal["runs"])
    mt = integer(steal, name, "mt", 0, len(STEAL_GFPS) - 1)
    order = integer(steal, name, "order", 0, int(recording.consts["max_order_inclusive"]))
    wanted, nr_got = (integer(steal, name, key, 0, PFNS_MAX) for key in ("n", "got"))
    if is_cut(steal["before"]):
        return [cut_section(name)]
    if len(expected) != nr_got:
        return [Section(name, rows=max(nr_got, 1), why=f"runs of {len(expected)} pfns where {nr_got} were got")]
    try:
        m = build_machine(recording, steal["before"])
    except RecordingError as error:
        return [Section(name, rows=len(expected), why=f"its first state: {error}")]
    cpu = integer(steal, name, "cpu", 0, recording.nr_cpus - 1) if "cpu" in steal else recording.nr_cpus - 1
    is_silent = bool(steal.get("silent"))
    gfp = int(STEAL_GFPS[mt])
    m, equal, foreign, got = follow(m, cpu, gfp, order, expected, 0 if is_silent else FOREIGN_MAX)
    section = Section(name, rows=len(expected), equal=equal, skipped=len(foreign))
    notes = [str(one) for one in foreign]
    if equal < len(expected):
        pfn = int(expected[equal])
        section.why = f"request {equal}: recorded {pfn}, kmsim {got}; {lists_at(m, pfn, order)}"
        return [section, Section(f"{name}.after", rows=1, why="the requests before it differ")]
    if nr_got < wanted:
        notes.append(f"that the run failed after {nr_got} requests is not scored")
    section.why = "; ".join(notes)
    if is_silent:
        return [section, silent_section(f"{name}.after", m, steal["after"])]
    held = np.zeros(int(m.params[0].nr_frames), np.uint8)
    for pfn in expected.tolist():
        held[pfn : pfn + (1 << order)] = 1
    return [section, state_section(f"{name}.after", m, steal["after"], held)[1]]


def follow(
    m: Machine, cpu: int, gfp: int, order: int, expected: Rows, foreign_max: int
) -> tuple[Machine, int, list[Foreign], int]:
    """Allocate along the expected pfns: the machine, how many agree, the foreign ones, and kmsim's last pfn."""
    foreign: list[Foreign] = []
    done = 0
    got = np.zeros(len(expected), np.int64)
    while True:
        before = copy_machine(m)
        agreed = allocate_until(m, cpu, gfp, order, expected[done:], got[done:])
        last = int(got[done + agreed]) if done + agreed < len(expected) else -1
        done += agreed
        if done == len(expected) or len(foreign) == foreign_max:
            return m, done, foreign, last
        allocate_until(before, cpu, gfp, order, expected[done - agreed : done], got[done - agreed : done])
        found = _foreign_before(before, cpu, gfp, order, expected[done:])
        if found is None:
            return m, done, foreign, last
        foreign.append(found[0])
        m = found[1]


def _foreign_before(m: Machine, cpu: int, gfp: int, order: int, expected: Rows) -> tuple[Foreign, Machine] | None:
    """A foreign allocation after which the recording and kmsim agree again."""
    wanted = expected[:AGREE_MIN]
    cpus = [cpu, *(other for other in range(int(m.params[0].nr_cpus)) if other != cpu)]
    for foreign, after in allocations(m, cpus):
        trial = copy_machine(after)
        if allocate_until(trial, cpu, gfp, order, wanted, np.zeros(len(wanted), np.int64)) == len(wanted):
            return foreign, after
    return None
