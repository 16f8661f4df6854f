"""What `kmsim sensitivity` does: a study run with every version of its prices, and what that changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from kmsim.session.console import compiling, stderr, stdout
from kmsim.session.pace import beginning, say_ending, study_progress
from kmsim.session.run import Ended, executor_of

if TYPE_CHECKING:
    from kmsim.config import Design
    from kmsim.study.campaign import Counts
    from kmsim.study.results import StudyResult

VERSIONS, SAMPLED = "one-at-a-time", "sobol"  # folders of the two studies
FIGURE = "effects_figure"
FACTOR_MAX, SAMPLES_MAX = 1_000, 1_024


class Asked(NamedTuple):
    """How prices are varied, and by how many workers."""

    factor: float
    samples: int  # 0: no indices
    jobs: int | None


def run_sensitivity(design: Design, out: Path | None, asked: Asked, *, as_json: bool) -> Ended:
    """Run every version of the prices; write and print effects, conclusions and indices.

    Raises NotAResult where prices cannot be varied, a number is out of range, or the folder holds something else.
    """
    from kmsim.plots.sensitivity import print_sensitivity
    from kmsim.study import sensitivity

    _check(asked)
    folder = out or Path("results") / f"{design.name}-sensitivity"
    _check_folder(folder)
    versions = sensitivity.one_at_a_time(design, asked.factor)
    study, nr_failed = _run("one at a time", versions, folder / VERSIONS, asked, quiet=as_json)
    effects = sensitivity.effects(study, design, asked.factor)
    conclusions = sensitivity.conclusions(study)
    prices = sensitivity.influential(study, design, asked.factor) if asked.samples else []
    indices = pd.DataFrame(columns=list(sensitivity.INDICES_COLUMNS))
    if prices:
        sampled = sensitivity.saltelli(design, prices, asked.samples, asked.factor)
        of_samples, more_failed = _run("all at once", sampled, folder / SAMPLED, asked, quiet=as_json)
        nr_failed += more_failed
        indices = sensitivity.indices(of_samples, prices, asked.samples)
    said = pd.DataFrame(conclusions, columns=list(sensitivity.Conclusion._fields))
    said["changed"] = ["; ".join(changed) for changed in said["changed"]]
    tables = {"effects": effects, "conclusions": said, "indices": indices}
    _write(tables, asked.factor, folder)
    if as_json:
        shown = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        print(json.dumps(shown, indent=2))
    else:
        print_sensitivity(effects, conclusions, indices, stdout)
        stdout.print(f"written to {folder}", markup=False, soft_wrap=True)
    return Ended(failed=nr_failed > 0)


def _check(asked: Asked) -> None:
    from kmsim.study.store import NotAResult

    if not 1 < asked.factor <= FACTOR_MAX:
        raise NotAResult(f"--factor {asked.factor:g}: must be above 1 and at most {FACTOR_MAX}")
    if not 0 <= asked.samples <= SAMPLES_MAX or asked.samples & (asked.samples - 1):
        must = f"must be a power of two up to {SAMPLES_MAX}, or 0 for no indices"
        raise NotAResult(f"--samples {asked.samples}: {must}")


def _check_folder(folder: Path) -> None:
    from kmsim.output import check_folder, check_our_folder
    from kmsim.study.store import NotAResult

    check_folder(folder)
    for name in (VERSIONS, SAMPLED):
        check_our_folder(folder / name)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / VERSIONS).is_dir():
        must = "must be a new folder or an earlier result of this command; it holds something else"
        raise NotAResult(f"{folder}: {must}")


def _write(tables: Mapping[str, pd.DataFrame], factor: float, folder: Path) -> None:
    from kmsim.output import write_each
    from kmsim.plots.drawn import csv_into, write_drawn
    from kmsim.plots.sensitivity import tornado
    from kmsim.plots.style import PAPER
    from kmsim.study.store import NotAResult

    try:
        write_each({folder / f"{name}.csv": partial(csv_into, table) for name, table in tables.items()})
        write_drawn(tornado(tables["effects"], factor), folder, FIGURE, ("png", "pdf"), PAPER)
    except OSError as error:
        raise NotAResult(f"{folder}: must be a folder that can be written; {error.strerror or error}") from error


def _run(what: str, design: Design, folder: Path, asked: Asked, *, quiet: bool) -> tuple[StudyResult, int]:
    """Run one of the two studies; its result, and how many of its runs failed or could not go on."""
    from kmsim.study.results import load_study
    from kmsim.study.sensitivity import AXIS
    from kmsim.study.whole_study import run_whole_study

    def prepared(counts: Counts) -> None:
        if not quiet:
            nr_versions = len(next(axis.levels for axis in design.axes if axis.name == AXIS))
            runs = f"{len(design.points):,} points, {counts.total:,} runs"
            first = f"{what}: {nr_versions:,} versions of the prices, {runs}"
            for line in (first, *beginning(design, counts)[1:]):
                stderr.print(line, markup=False, soft_wrap=True)

    with compiling(quiet=quiet), study_progress(quiet=quiet) as report:
        outcome = run_whole_study(design, folder, executor_of(design, asked.jobs), report, prepared=prepared)
    say_ending(outcome.counts)
    return load_study(folder), outcome.counts.failed + outcome.counts.stuck
