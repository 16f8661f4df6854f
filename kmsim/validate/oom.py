"""Sections in which a real kernel chose whom to kill: the points of each process, the victim, the answer.

A section has the steps of one call of out_of_memory; the process table of that moment is a text, `oomprocs.N`, with
pid, oom_score_adj and MiB touched. What each process has in memory, in swap and in page tables is an input; which
processes are looked at, in which order, their points and who is killed are compared. A process that an earlier section
has killed is not there any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.oom import (
    NO_PROCESS,
    NOT_TO_BE_KILLED,
    OOM_SCORE_ADJ_MAX,
    OOM_SCORE_ADJ_MIN,
    Oom,
    Processes,
    decide,
    made_progress,
    new_oom,
    new_processes,
    oom_badness,
)
from kmsim.procfs.recorded import COUNT_MAX, Recording, RecordingError, field, integer
from kmsim.validate.report import Section

ENTERED, LOOKED_AT, KILLED = "UoO"
WIDTHS = {ENTERED: 2, LOOKED_AT: 7, KILLED: 1}
PAGES_MAX = 1 << 40
Steps = list[list[Any]]


@entry
def oom_answers(oom: Oom, processes: Processes, gfp: int, points: NDArray[np.int64]) -> tuple[bool, int]:
    """Fill in the points of each process; is progress reported, and who is killed?"""
    for p in range(len(processes)):
        points[p] = oom_badness(processes, p, oom[0].totalpages)
    answer = decide(oom, processes, gfp, NO_PROCESS)
    return made_progress(answer), int(oom[0].victim)


def is_oom(recording: Recording, name: str) -> bool:
    """Is it a section of this kind?"""
    return name.startswith("oom.") and isinstance(recording.lab.get(name), dict)


def oom_section(recording: Recording, name: str) -> Section:
    """The steps of one call, and its answer."""
    section = recording.lab[name]
    steps = _checked_steps(section, name)
    table = _process_table(recording, name)
    looked_at = {step[1]: step for step in steps if step[0] == LOOKED_AT}
    processes = new_processes([(pid, adj, 0) for pid, adj in table])
    for process in processes:
        step = looked_at.get(int(process["pid"]), [])
        if step:
            process["anon_rss"], process["swapents"], process["pgtables"] = step[2:5]
    totalpages = integer(section, name, "totalpages", 0, PAGES_MAX)
    order, gfp = next((step[1:] for step in steps if step[0] == ENTERED), (0, 0))
    points = np.zeros(len(processes), np.int64)
    progress, victim = oom_answers(new_oom(totalpages), processes, gfp, points)
    found: Steps = [[ENTERED, order, gfp]]
    for process, of_process in zip(processes, points.tolist(), strict=True):
        if of_process != NOT_TO_BE_KILLED:
            counts = [int(process[name]) for name in ("pid", "anon_rss", "swapents", "pgtables", "oom_score_adj")]
            found.append([LOOKED_AT, *counts, totalpages, of_process])
    if victim != NO_PROCESS:
        found.append([KILLED, int(processes[victim]["pid"])])
    return _compared(name, [*steps, ["result", int(bool(section.get("result")))]], [*found, ["result", int(progress)]])


def _checked_steps(section: dict[str, Any], name: str) -> Steps:
    """The steps of a section; RecordingError where they are not what a call consists of."""
    steps: Steps = field(section, name, "events", list)
    for step in steps:
        if not isinstance(step, list) or not step or step[0] not in WIDTHS or len(step) != 1 + WIDTHS[step[0]]:
            raise RecordingError(f"{name}: {step!r} is no step of out_of_memory")
        if not all(type(value) is int and abs(value) <= PAGES_MAX for value in step[1:]):
            raise RecordingError(f"{name}: {step!r} is not of whole numbers")
    return steps


def _process_table(recording: Recording, name: str) -> list[tuple[int, int]]:
    """Each process that may be there, in the order in which they were started: pid and oom_score_adj."""
    text = field(recording.files, "files", f"oomprocs.{name.partition('.')[2]}", str)
    killed = _killed_before(recording, name)
    table = []
    for line in text.splitlines():
        words = dict(zip(("pid", "oom_score_adj"), line.split(), strict=False))
        numbers = {key: int(word) for key, word in words.items()}
        pid = integer(numbers, name, "pid", 0, COUNT_MAX)
        adj = integer(numbers, name, "oom_score_adj", OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX)
        if pid not in killed:
            table.append((pid, adj))
    return table


def _killed_before(recording: Recording, name: str) -> set[int]:
    """The pids that sections before this one have killed."""
    killed: set[int] = set()
    for other, section in recording.lab.items():
        if other == name:
            break
        if is_oom(recording, other):
            killed |= {step[1] for step in section.get("events", []) if step[:1] == [KILLED]}
    return killed


def _compared(name: str, recorded: Steps, found: Steps) -> Section:
    """Step by step; one that only one of them has differs."""
    nr_steps = max(len(recorded), len(found))
    section = Section(name, rows=nr_steps)
    for index in range(nr_steps):
        wanted, got = (of[index] if index < len(of) else "no more" for of in (recorded, found))
        if wanted == got:
            section.equal += 1
        elif not section.why:
            section.why = f"step {index}: recorded {wanted}, kmsim {got}"
    return section
