"""What `kmsim compare RESULT POINTS.csv` does: sets a result beside measurements, point by point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kmsim.session.calibrate import spread_of
from kmsim.session.console import stdout

FIGURE = "measured"


def are_points(path: Path) -> bool:
    """Is it a file of points, and no folder of a result?"""
    return path.suffix.lower() in (".csv", ".txt") and not path.is_dir()


def set_beside(result: Path, file: Path, worse_by: Sequence[str], out: Path | None, *, as_json: bool) -> None:
    """Print each point with its error, and write figure and rows; NotAResult where no run is what a point is of."""
    from kmsim.output import check_folder
    from kmsim.study.beside import beside
    from kmsim.study.measured import read_points
    from kmsim.study.results import load_study
    from kmsim.study.store import NotAResult

    if worse_by:
        raise NotAResult(f"--worse-by {worse_by[0][:80]}: must be left out where B is a file of points")
    points = read_points(file)
    if out is not None:
        check_folder(out)
    table = beside(load_study(result), points)
    if out is not None:
        _write(table, out)
    if as_json:
        facts = {"points": json.loads(table.to_json(orient="records")), "errors": spread_of(_errors(table))}
        print(json.dumps(facts, indent=2))
        return
    stdout.print(_table(table))
    for line in _lines(table):
        stdout.print(line, markup=False, soft_wrap=True)
    if out is not None:
        stdout.print(f"written to {out}", markup=False, soft_wrap=True)


def _write(table: pd.DataFrame, out: Path) -> None:
    from kmsim.plots.beside import measured_and_simulated
    from kmsim.plots.drawn import write_drawn
    from kmsim.study.store import NotAResult

    try:
        write_drawn(measured_and_simulated(table), out, FIGURE, ("png", "pdf"))
    except OSError as error:
        raise NotAResult(f"{out}: must be a folder that can be written; {error.strerror or error}") from error


def _table(table: pd.DataFrame) -> Table:
    shown = Table(title="points (ns)", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("curve", overflow="fold")
    for name in ("cpus", "measured", "simulated", "error", "in bars", "runs"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in table.itertuples():
        has_runs = int(row.runs) > 0
        bars = float(row.error_percent) / float(row.error_bar_percent)
        cells = (
            (f"{row.simulated_ns:,.4g}", f"{row.error_percent:+.1f} %", f"{bars:+.1f}") if has_runs else ("", "", "")
        )
        shown.add_row(escape(str(row.curve)), str(row.cpus), f"{row.measured_ns:,.4g}", *cells, str(row.runs))
    return shown


def _errors(table: pd.DataFrame) -> list[float]:
    return [abs(float(error)) for error in table["error_percent"].dropna()]


def _lines(table: pd.DataFrame) -> list[str]:
    of = spread_of(_errors(table))
    alone = int((table["runs"] == 0).sum())
    worst = (
        f"median error {of['median']:.1f} %, nine of ten within {of['nine_of_ten']:.1f} %, worst {of['worst']:.1f} %"
    )
    lines = [f"{len(table) - alone} points: {worst}"]
    return [*lines, *([f"{alone} points are of what no run of the result does"] if alone else [])]
