"""What `kmsim sensitivity` does: a study run with every version of its assumed prices, and what that changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from kmsim.session import compiling, stdout
from kmsim.session_study import study_progress

if TYPE_CHECKING:
    from kmsim.config import Design
    from kmsim.study.results import StudyResult

VERSIONS, SAMPLED = "one-at-a-time", "sobol"  # folders of the two studies


class Asked(NamedTuple):
    """How prices are varied, and by how many workers."""

    factor: float
    samples: int  # 0: no indices
    jobs: int | None


def run_sensitivity(design: Design, out: Path | None, asked: Asked, *, as_json: bool) -> None:
    """Run every version of the prices; write and print effects, conclusions and indices.

    Raises NotAResult where no price is assumed, or a number is out of range.
    """
    from kmsim.plots.sensitivity import print_sensitivity, tornado
    from kmsim.plots.study_figures import write_drawn
    from kmsim.study import sensitivity

    _check(asked)
    folder = out or Path("results") / f"{design.name}-sensitivity"
    versions = sensitivity.one_at_a_time(design, asked.factor)
    study = _run(versions, folder / VERSIONS, asked, quiet=as_json)
    effects = sensitivity.effects(study, design, asked.factor)
    conclusions = sensitivity.conclusions(study)
    prices = sensitivity.influential(effects) if asked.samples else []
    indices = pd.DataFrame(columns=list(sensitivity.INDICES_COLUMNS))
    if prices:
        sampled = sensitivity.saltelli(design, prices, asked.samples, asked.factor)
        of_samples = _run(sampled, folder / SAMPLED, asked, quiet=as_json)
        indices = sensitivity.indices(of_samples, prices, asked.samples)
    said = pd.DataFrame(conclusions, columns=list(sensitivity.Conclusion._fields))
    said["changed"] = ["; ".join(changed) for changed in said["changed"]]
    tables = {"effects": effects, "conclusions": said, "indices": indices}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    write_drawn(tornado(effects, asked.factor), folder, "effects_figure", ("png", "pdf"))
    if as_json:
        shown = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        print(json.dumps(shown, indent=2))
    else:
        print_sensitivity(effects, conclusions, indices, stdout)
        stdout.print(f"written to {folder}", markup=False)


def _check(asked: Asked) -> None:
    from kmsim.study.store import NotAResult

    if not 1 < asked.factor <= 1000:
        raise NotAResult(f"--factor {asked.factor:g}: must be above 1 and at most 1000")
    if asked.samples < 0 or asked.samples & (asked.samples - 1):
        raise NotAResult(f"--samples {asked.samples}: must be a power of two, or 0 for no indices")


def _run(design: Design, folder: Path, asked: Asked, *, quiet: bool) -> StudyResult:
    from kmsim.session_study import executor_of
    from kmsim.study.results import load_study
    from kmsim.study.whole_study import run_whole_study

    with compiling(quiet=quiet), study_progress(quiet=quiet) as report:
        run_whole_study(design, folder, executor_of(design, asked.jobs), report)
    return load_study(folder)
