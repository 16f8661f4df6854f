"""What `kmsim check` says of files: everything that is wrong, or how many points they have and what they will take."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kmsim.jit_mode import start_again_compiled
from kmsim.session.console import compiling
from kmsim.session.pace import NAMED_MAX, duration
from kmsim.text import nr_of

if TYPE_CHECKING:
    from kmsim.config import ConfigError, Design

COSTS_MAX = 1_000  # points whose cost is computed; of more, evenly chosen ones


class Checked(NamedTuple):
    """A file in which nothing is wrong: how much it asks for, and what that takes."""

    is_study: bool  # of several runs, or with questions
    operations: int  # of the first run
    points: int
    runs: int  # at most
    until_precise: bool  # may end after fewer
    dropped: list[str]  # why, of the first few
    nr_dropped: int
    seconds: float  # on so many CPUs, once it is compiled
    cpus: int
    nr_bytes: float
    notes: list[str]

    def lines(self) -> list[str]:
        """What is said of it."""
        lines = [f"note: {note}" for note in self.notes]
        if not self.is_study:
            return [*lines, f"fine, {self.operations:,} operations"]
        of = f"{nr_of(self.points, 'point')}, {'at most ' if self.until_precise else ''}{nr_of(self.runs, 'run')}"
        takes = f"about {duration(self.seconds)} on {nr_of(self.cpus, 'CPU')} of this computer, once it is compiled"
        last = [f"fine, {of}; {self.nr_dropped:,} dropped", f"{takes}; {self.nr_bytes / 1e6:,.0f} MB"]
        return [*lines, *self.dropped, *last]


def check_files(files: list[Path], sets: list[str], *, as_json: bool = False) -> bool:
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
    results: list[Checked | ConfigError] = []
    for file, one in zip(files, found, strict=True):
        try:
            results.append(one if isinstance(one, ConfigError) else checked(one, quiet=as_json))
        except ConfigError as error:
            results.append(error)
        if not as_json:
            _say(file, results[-1])
    if as_json:
        print(json.dumps([_as_dict(file, result) for file, result in zip(files, results, strict=True)], indent=2))
    return all(isinstance(result, Checked) for result in results)


def _say(file: Path, result: Checked | ConfigError) -> None:
    if not isinstance(result, Checked):
        print(result, file=sys.stderr)
        return
    for line in result.lines():
        print(f"{file}: {line}")


def _as_dict(file: Path, result: Checked | ConfigError) -> dict[str, Any]:
    """What is said of a file, for programs; of a problem, `line` is null where it stands in no line."""
    if isinstance(result, Checked):
        return {"file": str(file), "fine": True, "problems": [], **result._asdict()}
    return {"file": str(file), "fine": False, "problems": [asdict(problem) for problem in result.problems]}


def checked(design: Design, *, quiet: bool) -> Checked:
    """A study in which nothing is wrong; ConfigError where a run would refuse it."""
    from kmsim.study.expected_cost import expected_cost, study_s
    from kmsim.study.states import check_states, notes_of
    from kmsim.study.yielded import check_yielded
    from kmsim.workload.plan import nr_operations, plan_of

    check_yielded(design)
    check_states(design, partial(compiling, quiet=quiet))
    points = design.points[:: -(-len(design.points) // COSTS_MAX)]
    studies = [design.study_of(point) for point in points]
    jobs, replications = min(len(os.sched_getaffinity(0)), design.nr_runs), design.inquiry.replications
    firsts = [expected_cost(study) for study in studies]
    others = [expected_cost(design.study_of(point, 1)) for point in points]  # these keep no maps of memory
    share = len(design.points) / len(points)
    seconds = share * sum(cost.seconds for cost in firsts) * replications.most
    of_others = sum(cost.nr_bytes for cost in others) * (replications.most - 1)
    return Checked(
        is_study=not design.is_single,
        operations=nr_operations(plan_of(studies[0].workload, studies[0].machine)),
        points=len(design.points),
        runs=design.nr_runs,
        until_precise=replications.until is not None,
        dropped=[f"point {dropped.number} is dropped: {dropped.reason}" for dropped in design.dropped[:NAMED_MAX]],
        nr_dropped=len(design.dropped),
        seconds=study_s(seconds, design.nr_runs, jobs),
        cpus=jobs,
        nr_bytes=share * (sum(cost.nr_bytes for cost in firsts) + of_others),
        notes=list(dict.fromkeys(note for study in studies for note in notes_of(study.machine))),
    )
