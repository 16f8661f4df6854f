"""The tables of a report, by column as the page reads them, each within the bytes that it is given.

{"caption", "same", "empty", "columns": [{"heading", "kind": "text" or "number", "values"}], "total"}: `empty` is said
in place of a table without rows, `same` has the columns in which all rows say the same, `total` is how many rows
there are where not all fit. NaN and infinities become null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kmsim.plots.report_text import nr_bytes, readable
from kmsim.plots.roles import axis_titles
from kmsim.study.cautions import primary_first
from kmsim.study.model_error import in_words
from kmsim.study.summary import operations_summary, what_is_asked_for

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult
    from kmsim.study.store import Result

Table = dict[str, Any]

ROWS_MAX = 20_000  # more are slow to filter
ROWS_TRIED = 500  # by which it is guessed how many fit
COMPARISONS_BYTES = 700_000
ESTIMATES_BYTES = 900_000
RUNS_BYTES = 600_000
SMALL_BYTES = 100_000  # axes, dropped points, failed runs
RUN_TABLE_BYTES = 60_000  # of each shown run
HEADINGS = {
    "sd": "standard deviation",
    "ci_low": "CI low",
    "ci_high": "CI high",
    "half_width": "half-width / mean",
    "boot_low": "bootstrap low",
    "boot_high": "bootstrap high",
    "relative": "difference / baseline",
    "p_holm": "p (Holm)",
    "baseline_failed_share": "failed at the baseline (%)",
    "failed_share": "failed (%)",
    "model_error": "model's error",
    "within_model_error": "within the model's error",
    "lag_1_p": "p of independent batches",
    "variance_ratio": "variance, paired / unpaired",
    "p50_ns": "p50 (ns)",
    "p999_ns": "p99.9 (ns)",
    "to_vmalloc": "by vmalloc",
    "stuck": "could not go on",
}
# In which order the columns are read: what is found first, then what it is made of.
COMPARISON_ENDS = (
    *("baseline_mean", "difference", "ci_low", "ci_high", "relative", "p_holm", "significant"),
    *("model_error", "within_model_error", "baseline_failed_share", "failed_share"),
    *("n", "p", "boot_low", "boot_high", "variance_ratio", "axis"),
)
ESTIMATE_ENDS = (
    "mean",
    "ci_low",
    "ci_high",
    "half_width",
    "model_error",
    "failed_share",
    "n",
    "sd",
    "method",
    "lag_1_p",
)
UNITS = {"ns": "ns", "bytes": "bytes"}


def table(rows: pd.DataFrame, caption: str, empty: str, *, most_bytes: int = SMALL_BYTES) -> Table:
    """A table as the page reads it: its first rows, as many as fit."""
    nr_rows = min(len(rows), ROWS_MAX)
    made = _first_rows(rows, min(nr_rows, ROWS_TRIED))
    if nr_rows > ROWS_TRIED:
        nr_rows = min(nr_rows, int(ROWS_TRIED * most_bytes / nr_bytes(made)))
        made = _first_rows(rows, nr_rows)
    while nr_rows and (size := nr_bytes(made)) > most_bytes:
        nr_rows = min(nr_rows - 1, int(0.95 * nr_rows * most_bytes / size))
        made = _first_rows(rows, nr_rows)
    return {"caption": caption, "empty": empty, **made, "total": len(rows)}


def _first_rows(rows: pd.DataFrame, nr_rows: int) -> Table:
    """What differs between the first rows by column, and what is the same in all of them."""
    columns = [_column(str(name), rows.iloc[:nr_rows, n]) for n, name in enumerate(rows.columns)]
    differing = [column for column in columns if not _is_same(column["values"])] or columns
    same = [column | {"values": column["values"][:1]} for column in columns if column not in differing]
    return {"columns": differing, "same": same}


def nr_rows_left_out(made: Table) -> int:
    """How many rows have found no room."""
    shown = len(made["columns"][0]["values"]) if made["columns"] else 0
    return int(made["total"]) - shown


def study_tables(study: StudyResult) -> dict[str, Table]:
    """The tables of a whole study, by the place in the page."""
    return {
        "comparisons": _comparisons(study),
        "estimates": table(
            _ending_in(_short(study, _with_errors(primary_first(study, study.estimates), "%")), ESTIMATE_ENDS),
            "Responses by point",
            "No run has yielded a number.",
            most_bytes=ESTIMATES_BYTES,
        ),
        "runs": _runs(study),
        "axes": _axes(study),
        "dropped": _dropped(study),
        "failed": _failed(study),
    }


def operations_table(result: Result) -> Table:
    """Counts and latencies of one run's requests, over all CPUs."""
    summary = operations_summary(result)
    summary.insert(1, "what", what_is_asked_for(summary))
    return table(
        summary.drop(columns=["api", "order", "cache"]),
        "Operations over all CPUs",
        "The run asked for nothing.",
        most_bytes=RUN_TABLE_BYTES,
    )


def locks_table(result: Result) -> Table:
    """The locks of one run, those that were waited for most first."""
    most_first = result.locks.sort_values(["wait_total_ns", "hold_total_ns"], ascending=False, kind="stable")
    return table(most_first, "Locks", "No lock was taken.", most_bytes=RUN_TABLE_BYTES)


def _comparisons(study: StudyResult) -> Table:
    rows = primary_first(study, study.comparisons)
    compared = rows["axis"].unique()
    if len(compared) == 1:  # its column says what `level` says
        rows = rows.drop(columns=compared)
    rows = _ending_in(_short(study, _with_errors(rows)), COMPARISON_ENDS)
    made = table(rows, "Comparisons", "The study compares nothing.", most_bytes=COMPARISONS_BYTES)
    if nr_rows_left_out(made):  # those that say most stay
        surest = primary_first(study, rows.sort_values("p_holm", kind="stable"))
        made = table(surest, "Comparisons, the surest", made["empty"], most_bytes=COMPARISONS_BYTES)
    return made


def _with_errors(rows: pd.DataFrame, unit: str | None = None) -> pd.DataFrame:
    """The same table with the model's error in words, in the unit of each row if no other is said."""
    units = rows["unit"] if unit is None else [unit] * len(rows)
    words = [in_words(error, of) for error, of in zip(rows["model_error"], units, strict=True)]
    return rows.assign(model_error=words)


def _short(study: StudyResult, rows: pd.DataFrame) -> pd.DataFrame:
    """Dotted names of axes cut to their last words, as in figures, so that the numbers beside them stay in view."""
    titles = axis_titles(study.axes)
    return rows.rename(columns={name: title for name, title in titles.items() if title not in rows.columns})


def _ending_in(rows: pd.DataFrame, ends: tuple[str, ...]) -> pd.DataFrame:
    """The same table with these of its columns last, in this order."""
    last = [name for name in ends if name in rows.columns]
    return rows[[*(name for name in rows.columns if name not in last), *last]]


def _runs(study: StudyResult) -> Table:
    axes = [axis.name for axis in study.axes if axis.name in study.runs.columns]
    first = ["run", "point", "replication", "seed", *axes, "failed", "stuck"]
    rows = study.runs[[*first, *(name for name in study.runs.columns if name not in (*first, "file"))]]
    made = table(rows, "Runs", "No run has finished.", most_bytes=RUNS_BYTES)
    if nr_rows_left_out(made):
        unusual = rows["failed"].astype(bool) | (rows["stuck"] != "")
        rows = pd.concat([rows[unusual], rows[~unusual]])
        made = table(rows, "Runs, those that failed first", made["empty"], most_bytes=RUNS_BYTES)
    return made


def _axes(study: StudyResult) -> Table:
    levels = [", ".join(readable(level) for level in axis.levels) for axis in study.axes]
    rows = pd.DataFrame(
        {
            "axis": [axis.name for axis in study.axes],
            "number of levels": [len(axis.levels) for axis in study.axes],
            "levels": levels,
        }
    )
    return table(rows, "Axes", "Nothing: it is a study of one point.")


def _dropped(study: StudyResult) -> Table:
    names = [axis.name for axis in study.axes]
    rows = pd.DataFrame(
        [[point.number, *(point.labels.get(name, "") for name in names), point.reason] for point in study.dropped],
        columns=["point", *names, "reason"],
    )
    return table(rows, "Dropped points", "None: every combination of levels is a point.")


def _failed(study: StudyResult) -> Table:
    runs = study.runs
    names = [name for name in (axis.name for axis in study.axes) if name in runs.columns]
    unusual = runs[runs["failed"].astype(bool) | (runs["stuck"] != "")]
    rows = unusual[["run", "point", "replication", "seed", *names, "failed", "stuck"]]
    return table(rows, "Runs that failed or could not go on", "None: every run went on to its end.")


def _is_same(values: list[Any]) -> bool:
    """Does a column say the same in each of more than two rows?"""
    return len(values) > 2 and all(value == values[0] for value in values)


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    if pd.api.types.is_bool_dtype(values):
        return {"heading": _heading(name), "kind": "text", "values": np.where(values, "yes", "no").tolist()}
    if pd.api.types.is_integer_dtype(values):
        return {"heading": _heading(name), "kind": "number", "values": values.tolist()}
    if pd.api.types.is_float_dtype(values):
        return {"heading": _heading(name), "kind": "number", "values": [_number(value) for value in values.tolist()]}
    texts = ["" if pd.isna(value) else readable(str(value)) for value in values.tolist()]
    return {"heading": _heading(name), "kind": "text", "values": texts}


def _number(value: float) -> float | int | None:
    """Six digits of a number, a whole one as such; none of what is no number."""
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _heading(name: str) -> str:
    if name in HEADINGS:
        return HEADINGS[name]
    stem, _, unit = name.rpartition("_")
    words = f"{stem} ({UNITS[unit]})" if stem and unit in UNITS else name
    return readable(words if "." in name else words.replace("_", " "), 80)
