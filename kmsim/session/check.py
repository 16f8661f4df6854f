"""What `kmsim check` says of files: everything that is wrong, or how many points they have and what they will take."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kmsim.jit_mode import start_again_compiled
from kmsim.session.console import compiling
from kmsim.session.pace import NAMED_MAX, duration
from kmsim.text import nr_of

if TYPE_CHECKING:
    from kmsim.config import Design

COSTS_MAX = 1_000  # points whose cost is computed; of more, evenly chosen ones


def check_files(files: list[Path], sets: list[str]) -> bool:
    """Check each file; whether all are fine."""
    from kmsim.config import ConfigError, load_design
    from kmsim.study.states import has_states

    found: list[Design | ConfigError] = []
    for file in files:
        try:
            found.append(load_design(file, sets))
        except ConfigError as error:
            found.append(error)
    if any(not isinstance(one, ConfigError) and has_states(one) for one in found):
        start_again_compiled()
    fine = True
    for file, one in zip(files, found, strict=True):
        try:
            if isinstance(one, ConfigError):
                raise one
            lines = checked_lines(one)
        except ConfigError as error:
            fine = False
            print(error, file=sys.stderr)
        else:
            for line in lines:
                print(f"{file}: {line}")
    return fine


def checked_lines(design: Design) -> list[str]:
    """What is said of a study in which nothing is wrong."""
    from kmsim.study.expected_cost import expected_cost, study_s
    from kmsim.study.states import check_states
    from kmsim.study.yielded import check_yielded
    from kmsim.workload.plan import nr_operations, plan_of

    check_yielded(design)
    check_states(design, partial(compiling, quiet=False))
    points = design.points[:: -(-len(design.points) // COSTS_MAX)]
    studies = [design.study_of(point) for point in points]
    notes = dict.fromkeys(note for study in studies for note in study.machine.notes)
    lines = [f"note: {note}" for note in notes]
    if design.is_single:
        operations = nr_operations(plan_of(studies[0].workload, studies[0].machine))
        return [*lines, f"fine, {operations:,} operations"]
    jobs, replications = min(len(os.sched_getaffinity(0)), design.nr_runs), design.inquiry.replications
    firsts = [expected_cost(study) for study in studies]
    others = [expected_cost(design.study_of(point, 1)) for point in points]  # these keep no maps of memory
    share = len(design.points) / len(points)
    seconds = share * sum(cost.seconds for cost in firsts) * replications.most
    of_others = sum(cost.nr_bytes for cost in others) * (replications.most - 1)
    nr_bytes = share * (sum(cost.nr_bytes for cost in firsts) + of_others)
    most = "at most " if replications.until else ""
    lines += [f"point {dropped.number} is dropped: {dropped.reason}" for dropped in design.dropped[:NAMED_MAX]]
    of = f"{nr_of(len(design.points), 'point')}, {most}{nr_of(design.nr_runs, 'run')}"
    takes = duration(study_s(seconds, design.nr_runs, jobs))
    return [
        *lines,
        f"fine, {of}; {len(design.dropped):,} dropped",
        f"about {takes} on {nr_of(jobs, 'CPU')} of this computer, once it is compiled; {nr_bytes / 1e6:,.0f} MB",
    ]
