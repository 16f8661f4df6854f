"""The rows of a comparison in a terminal: a table that fits 80 columns, and the differences in sentences.

A row's marks: * differs; ~ differs, by no more than the model's error; ? differs, and the model's error is not known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kmsim.study.cautions import SERVED_ONLY, some_failed

if TYPE_CHECKING:
    from rich.console import Console

    from kmsim.study.compare import Compared

ROWS_MAX = 200
RESPONSE_WIDTH = 12  # that it has in any case
SENTENCES_MAX = 6
WHOLE_FROM = 1000  # percent without a digit behind the point
LABEL_WIDTH = 16  # of the axes, and of a response: longer ones are folded
MARKS = (
    "*: differs after Holm's correction within its response; ~: so it does, but within the model's error; "
    "?: the model's error is not known; worse: by more than its bound"
)


def show_rows(compared: Compared, console: Console) -> None:
    """Print the rows that differ anywhere, the surest where they are many, and what holds of them."""
    from kmsim.study.estimates import estimates, same_everywhere
    from kmsim.study.model_error import said_of_errors

    same = same_everywhere(compared.rows)
    rows = compared.rows[~same]
    shown = rows
    if len(rows) > ROWS_MAX:
        surest = rows.sort_values(["worse", "p"], ascending=[False, True], kind="stable").head(ROWS_MAX).index
        shown = rows.loc[rows.index.isin(surest)]
    console.print(_table(compared, shown))
    if len(shown) < len(rows):
        console.print(f"the {ROWS_MAX} surest of {len(rows):,} rows")
    if same.any():
        left_out = ", ".join(dict.fromkeys(compared.rows[same]["response"]))
        console.print(f"the same in A and B: {left_out}", markup=False)
    console.print(MARKS)
    if some_failed(shown):
        console.print(SERVED_ONLY)
    both = compared.both
    for line in (*said_of_errors(estimates(both.runs, both.responses, both.axes)), *sentences(compared)):
        console.print(line, markup=False)


def _table(compared: Compared, shown: pd.DataFrame) -> Table:
    axes, counts, has_failed = compared.axes, shown["n"].unique(), some_failed(shown)
    of_all = f", n = {counts[0]} in each row" if len(counts) == 1 else ""
    title = f"{'paired differences' if compared.paired else 'differences'} B - A{of_all}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True)
    if axes:
        titles = _titles(compared)
        heading = "\n".join(titles[name] for name in axes)
        table.add_column(escape(heading), overflow="fold", max_width=LABEL_WIDTH)
    table.add_column("response", overflow="fold", min_width=RESPONSE_WIDTH, max_width=LABEL_WIDTH)
    numbers = [*([] if of_all else ["n"]), "A\nB", "B - A\n(95 % interval)", "model's\nerror"]
    numbers += ["failed\nA\nB"] if has_failed else []
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=len("worse"))
    for row in shown.to_dict("records"):
        cells = ["\n".join(str(row[name]) for name in axes)] if axes else []
        cells += [f"{row['response']}\n{row['unit']}".rstrip(), *([] if of_all else [str(row["n"])]), *_values(row)]
        cells += [_failed(row)] if has_failed else []
        table.add_row(*map(escape, [*cells, _mark(row)]))
    return table


def _titles(compared: Compared) -> dict[str, str]:
    from kmsim.plots.roles import axis_titles, in_words

    return {name: in_words(title) for name, title in axis_titles(compared.both.axes).items()}


def _mark(row: dict[str, Any]) -> str:
    if row["worse"]:
        return "worse\n?" if math.isnan(row["model_error"]) else "worse"
    if not row["significant"]:
        return ""
    return "~" if row["within_model_error"] else "?" if math.isnan(row["model_error"]) else "*"


def _values(row: dict[str, Any]) -> list[str]:
    """Both means; their difference and its interval, and the model's error, in percent of A's mean."""
    if row["n"] == 0:
        return ["", "", ""]
    means = [
        f"{mean:,.4g}".replace("e+0", "e") for mean in (row["baseline_mean"], row["baseline_mean"] + row["difference"])
    ]
    difference, interval = _change(row)
    return ["\n".join(means), f"{difference}\n{interval}".rstrip(), _error(row)]


def _change(row: dict[str, Any]) -> tuple[str, str]:
    """The difference and its interval, in percent of A's mean; where it is 0, as they are."""
    base = abs(row["baseline_mean"])
    found = [row[name] / base * 100 if base else row[name] for name in ("difference", "ci_low", "ci_high")]
    digits = 1 if max(map(abs, found)) < WHOLE_FROM else 0
    middle, low, high = (f"{value:+,.{digits}f}" if base else f"{value:+,.3g}" for value in found)
    return f"{middle}{' %' if base else ''}", "" if math.isnan(row["ci_low"]) else f"{low} to {high}"


def _error(row: dict[str, Any]) -> str:
    from kmsim.study.model_error import in_words

    base = abs(row["baseline_mean"])
    found = in_words(row["model_error"] / base * 100, "%") if base else in_words(row["model_error"], row["unit"])
    return (
        found
        if found.startswith("\N{PLUS-MINUS SIGN}")
        else found.replace(" measured", "\nmeasured").replace(" prices", "\nprices")
    )


def _failed(row: dict[str, Any]) -> str:
    """The shares that failed of those of which this response is about the others."""
    shares = (row["baseline_failed_share"], row["failed_share"])
    return "" if all(map(math.isnan, shares)) else "\n".join(f"{share:.3g} %" for share in shares)


# ---- sentences


def sentences(compared: Compared) -> list[str]:
    """The differences that are shown, the surest of each response first, as one reads them out."""
    from kmsim.study.estimates import is_shown

    shown = compared.rows[is_shown(compared.rows)].sort_values("p", kind="stable")
    shown = shown.iloc[shown.groupby("response").cumcount().to_numpy().argsort(kind="stable")]
    lines = [f"{what_and_where(row, compared)} {_how(row)}" for row in shown.head(SENTENCES_MAX).to_dict("records")]
    more = len(shown) - len(lines)
    return [*lines, f"and {more:,} more that differ"] if more else lines


def what_and_where(row: dict[str, Any], compared: Compared) -> str:
    """`largest block (order) 9: mean latency`."""
    from kmsim.plots.responses import words_of

    titles = _titles(compared)
    at = ", ".join(f"{titles[name]} {row[name]}" for name in compared.axes)
    words = words_of(next(one for one in compared.both.responses_config if one.name == row["response"]))
    return f"{f'{at}: ' if at else ''}{words[0].lower()}{words[1:]}"


def _how(row: dict[str, Any]) -> str:
    """`worse by 10.3 % (9.1 to 11.5)`; of what is neither worse nor better, by how much B - A is more or less."""
    way = row["worsening"]
    word = ("higher" if row["difference"] > 0 else "lower") if math.isnan(way) else "worse" if way > 0 else "better"
    sign = -1 if row["difference"] < 0 else 1
    base = abs(row["baseline_mean"])
    ends = sorted(sign * row[name] for name in ("ci_low", "ci_high"))
    middle, low, high = (
        f"{value / base * 100:,.1f}" if base else f"{value:,.3g}" for value in (abs(row["difference"]), *ends)
    )
    unit = " %" if base else f" {row['unit']}".rstrip()
    interval = "" if math.isnan(row["ci_low"]) else f" ({low} to {high})"
    return f"{word} by {middle}{unit}{interval}{said_where_unknown(row)}"


def said_where_unknown(row: dict[str, Any]) -> str:
    """What is said of a difference whose model's error nobody has measured."""
    return "; the model's error is not known" if math.isnan(row["model_error"]) else ""
