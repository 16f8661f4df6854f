"""What `kmsim show` and `kmsim report` do with results: tables in a terminal, JSON, one HTML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmsim.session.console import print_json, stderr, stdout

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult
    from kmsim.study.store import Result


def show_folder(
    folder: Path, point: int | None = None, replication: int = 0, *, as_json: bool, has_all: bool = False
) -> None:
    """Print the answer of a result, or all its tables; of a study, or of one run of it."""
    from kmsim.config import ConfigError
    from kmsim.config.asked import refused
    from kmsim.study.store import load
    from kmsim.study.study_folder import is_study_folder

    if replication and point is None:
        raise ConfigError([refused("comes_with", str(replication), "show", "--replication", what="--point")])
    if is_study_folder(folder) or point is not None:
        show_study_folder(folder, point, replication, as_json=as_json, has_all=has_all)
        return
    result = load(folder)
    if as_json:
        print_json(result)
    else:
        show_run(result, has_all=has_all)


def show_run(result: Result, *, has_all: bool) -> None:
    """Print the answer of a run, or all its tables."""
    from kmsim.plots.answer import show_answer
    from kmsim.plots.terminal import show_result

    show = show_result if has_all else show_answer
    show(result, stdout)


def show_study_folder(folder: Path, point: int | None, replication: int, *, as_json: bool, has_all: bool) -> None:
    """Print the tables of a study, or of one run of it."""
    from kmsim.plots.study_terminal import show_study
    from kmsim.study.results import load_study
    from kmsim.study.store import NotAResult

    study = load_study(folder)
    if point is None:
        print_study_json(study) if as_json else show_study(study, stdout)
        return
    found = study.runs[(study.runs["point"] == point) & (study.runs["replication"] == replication)]
    if found.empty:
        raise NotAResult(f"{folder}: must have a run of point {point}, replication {replication}; it has none")
    result = study.run(int(found["run"].iloc[0]))
    if as_json:
        print_json(result)
    else:
        labels = ", ".join(f"{axis.name} {found[axis.name].iloc[0]}" for axis in study.axes)
        about = f"point {point}" + (f" ({labels})" if labels else "")
        stdout.print(f"{study.name}: {about}, replication {replication}", markup=False)
        show_run(result, has_all=has_all)


def print_study_json(study: StudyResult) -> None:
    """Print provenance, runs and estimates as one JSON object."""
    shown = {name: json.loads(table.to_json(orient="records")) for name, table in _tables(study).items()}
    print(json.dumps({"provenance": study.provenance, **shown}, indent=2))


def _tables(study: StudyResult) -> dict[str, Any]:
    return {"runs": study.runs, "estimates": study.estimates, "comparisons": study.comparisons}


def write_report_of(folder: Path, out: Path | None) -> None:
    """Write the report of a result; OSError where it cannot be, NotAResult among a result's own files."""
    from kmsim.output import check_file, is_stream
    from kmsim.plots.report import write_report
    from kmsim.study.checksums import REPORT_FILE, discard_damaged
    from kmsim.study.results import load_study
    from kmsim.study.store import check_outside

    if out is not None:
        check_file(out)
        if not is_stream(out):
            check_outside(out, REPORT_FILE)
    if out is None or out.resolve() == (folder / REPORT_FILE).resolve():
        discard_damaged(folder / REPORT_FILE)
    written = write_report(load_study(folder), out)
    console = stderr if is_stream(written) else stdout  # the page has gone where a message would end it
    console.print(f"wrote {written}", markup=False, soft_wrap=True)
