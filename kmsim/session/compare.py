"""What `kmsim compare` does: reads two results, and says what differs, by how much, and whether it is too much."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kmsim.session.console import stdout

if TYPE_CHECKING:
    from kmsim.study.compare import Bounds, Compared
    from kmsim.study.results import StudyResult

KEYS_MAX = 40  # keys and lines of the verdict that are printed
WORSE_MAX = 10
VALUE_MAX = 60  # characters of a value
TABLE_FILE = "rows.csv"


def compare_and_show(a: Path, b: Path, worse_by: Sequence[str], out: Path | None, *, as_json: bool) -> bool:
    """Compare two results, and print what came of it.

    Whether nothing is worse by more than its bound, and, where there are bounds, whether something could be judged.
    """
    from kmsim.output import check_folder
    from kmsim.study.compare import compare
    from kmsim.study.results import load_study

    bounds = bounds_of(worse_by)
    if out is not None:
        check_folder(out)
    sides = load_study(a), load_study(b)
    compared = compare(*sides, bounds)
    written = [] if out is None else write_comparison(compared, out)
    if as_json:
        print(json.dumps(_facts(sides, compared), indent=2))
    else:
        _show(sides, compared, judged=bool(worse_by))
        if written:
            stdout.print(f"written to {out}", markup=False, soft_wrap=True)
    return not len(compared.worse) and (compared.is_judged or not worse_by)


def bounds_of(worse_by: Sequence[str]) -> Bounds:
    """The bounds that are written SHARE or RESPONSE=SHARE; NotAResult where one is not."""
    from kmsim.study.compare import Bounds

    of_all: float | None = None
    by_response: dict[str, float] = {}
    for text in worse_by:
        name, is_named, share = text.rpartition("=")
        if is_named:
            by_response[name.strip()] = _bound(text, share)
        else:
            of_all = _bound(text, share)
    return Bounds(of_all, by_response)


def _bound(text: str, share: str) -> float:
    from kmsim.study.store import NotAResult

    digits = share.strip()
    try:
        found = float(digits.removesuffix("%")) / (100 if digits.endswith("%") else 1)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        must = "must be a share of 0 or more, such as 0.05 or 5%, or of one response, such as latency_p99=0.1"
        raise NotAResult(f"--worse-by {text[:80]}: {must}")
    return found


def write_comparison(compared: Compared, out: Path) -> list[Path]:
    """Write the figure (PNG, PDF and its data as CSV) and all rows; NotAResult where that cannot be."""
    from kmsim.output import write_each
    from kmsim.plots.drawn import csv_into
    from kmsim.plots.study_figures import draw_study
    from kmsim.study.store import NotAResult

    try:
        out.mkdir(parents=True, exist_ok=True)  # a comparison without figures has a table
        written = draw_study(compared.both, out)
        write_each({out / TABLE_FILE: partial(csv_into, compared.rows)})
    except OSError as error:
        raise NotAResult(f"{out}: must be a folder that can be written; {error.strerror or error}") from error
    return [*written, out / TABLE_FILE]


def _show(sides: tuple[StudyResult, StudyResult], compared: Compared, *, judged: bool) -> None:
    from kmsim.session.compare_rows import show_rows
    from kmsim.study.cautions import ONE_SEED

    for name, study in zip("AB", sides, strict=True):
        runs = "1 run" if len(study.runs) == 1 else f"{len(study.runs):,} runs"
        stdout.print(f"{name}: {study.path}, {study.name}, {runs}", markup=False, soft_wrap=True)
    _show_differing(compared)
    for note in compared.notes:
        stdout.print(note, style="bold red" if note in compared.stuck else None, markup=False)
    if (compared.rows["n"] <= 1).all():
        stdout.print(ONE_SEED, style="bold red")
    show_rows(compared, stdout)
    if judged:
        for line in verdict(compared):
            stdout.print(line, markup=False)


def _show_differing(compared: Compared) -> None:
    found = compared.differing
    if not found:
        stdout.print("config, sweep, replications and versions are equal")
        return
    table = Table(title="what differs", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("key", "A", "B"):
        table.add_column(name, overflow="fold")
    for one in found[:KEYS_MAX]:
        table.add_row(*(escape(_short(text)) for text in one))
    stdout.print(table)
    if len(found) > KEYS_MAX:
        stdout.print(f"the first {KEYS_MAX} of {len(found):,} keys")


def _short(text: str) -> str:
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"


def verdict(compared: Compared) -> list[str]:
    """Is anything worse by more than its bound, and how is that known?"""
    judged = compared.judged
    empty = judged[judged["n"] == 0]
    lines = [_worse(row, compared) for row in compared.worse.head(WORSE_MAX).to_dict("records")]
    if len(compared.worse) > WORSE_MAX:
        lines.append(f"and {len(compared.worse) - WORSE_MAX:,} more")
    if len(empty):
        lines.append(f"{len(empty):,} of {len(judged):,} rows have no values to judge")
    if len(compared.lost):
        lines.append(f"{len(compared.lost):,} of {len(judged):,} rows have values in A and none in B")
    elif not compared.is_judged:
        lines.append("nothing could be judged")
    count = f"{len(compared.worse):,} of {len(judged):,} rows are worse by more than their bound"
    how = "the lower end of the 95 % interval of the worsening, as a share of A's mean, is above it"
    alone = "; of n = 1 the worsening itself" if (judged["n"] == 1).any() else ""
    within = len(compared.excused)
    also = [f"{within:,} more {'is' if within == 1 else 'are'} not called worse: within the model's error"]
    return [*lines, f"{count} ({how}{alone})", *(also if within else [])]


def _worse(row: dict[str, Any], compared: Compared) -> str:
    from kmsim.session.compare_rows import said_where_unknown, what_and_where

    by = f"by {row['worsening']:.2%}" if math.isfinite(row["worsening"]) else "than nothing"
    low = f"at least {row['worsening_low']:.2%}" if math.isfinite(row["worsening_low"]) else "more than nothing"
    surely = "n = 1, no interval" if math.isnan(row["ci_low"]) else f"{low} by the 95 % interval"
    return f"{what_and_where(row, compared)} worse {by} ({surely}), bound {row['bound']:.2%}{said_where_unknown(row)}"


def _facts(sides: tuple[StudyResult, StudyResult], compared: Compared) -> dict[str, Any]:
    rows = compared.rows.assign(**{column: _finite(compared.rows[column]) for column in ("worsening", "worsening_low")})
    return {
        **{name: _of_side(study) for name, study in zip("ab", sides, strict=True)},
        "differing": [one._asdict() for one in compared.differing],
        "paired": compared.paired,
        "axes": compared.axes,
        "notes": list(compared.notes),
        "rows": json.loads(rows.to_json(orient="records")),
        "worse": len(compared.worse),
        "lost": len(compared.lost),
    }


def _finite(column: pd.Series) -> pd.Series:
    """JSON has no infinity: what is more than nothing is said as text."""
    return column.astype(object).where(~column.isin([math.inf, -math.inf]), column.map(str))


def _of_side(study: StudyResult) -> dict[str, Any]:
    return {"path": str(study.path), "name": study.name, "runs": len(study.runs), "seed": study.seed}
