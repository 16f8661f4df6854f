"""A study as tables in a terminal: a row for each point, a column for each response, in groups that fit the screen.

What all points have in common stands above the tables. A cell is the mean and how far its 95 % interval reaches on
either side; all of it, and the differences that the study asks for, are in the report and in `--json`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.config.responses import MEASURES
from kmsim.study import cautions
from kmsim.study.cautions import SERVED_ONLY
from kmsim.study.collect import RUNS
from kmsim.study.estimates import is_shown, of_unknown_error, same_everywhere
from kmsim.study.model_error import in_words, said_of_errors
from kmsim.study.results import StudyResult
from kmsim.text import nr_of

POINTS_MAX = 40  # that are printed
COMPARED_MAX = 12  # differences of a comparison that are printed
LABEL_MAX = 24
CELL_WIDTH = 15  # of a response
AXIS_WIDTH = 14  # of an axis, beyond which its name is broken after an underscore: three responses have room beside two
COMPARED_WIDTH = 8  # the same of the headings of comparisons, which are more
LEAST_DIGITS = 3


def show_study(study: StudyResult, console: Console) -> None:
    """Print the estimates of a study, and the clearest of the differences that it asks for."""
    if alone := cautions.one_seed(study):
        console.print(alone, style="bold red", soft_wrap=True)
    failed, stuck = int(study.runs["failed"].sum()), int((study.runs["stuck"] != "").sum())
    said = [f"{nr_of(len(study.runs), 'run')} of {nr_of(study.runs['point'].nunique(), 'point')}"]
    said += [f"{failed} failed"] if failed else []
    said += [f"{stuck} got stuck"] if stuck else []
    console.print(f"{study.name}: {', '.join(said)}", markup=False)
    if left := cautions.stuck(study):
        console.print(left, style="bold red", soft_wrap=True)
    if less := cautions.imprecise(study):
        console.print(less, markup=False)
    if study.question:
        console.print(study.question, markup=False)
    axes = [axis.name for axis in study.axes]
    # What the levels of an axis are that moves several keys.
    keys = [name for name in study.runs.columns if name not in (*RUNS, *axes)]
    estimates = study.estimates.merge(study.runs.drop_duplicates("point")[["point", *keys]], on="point")
    varied = [name for name in (*axes, *keys) if estimates[name].nunique() > 1]
    fixed = [f"{name} {estimates[name].iloc[0]}" for name in (*axes, *keys) if name not in varied and len(estimates)]
    if fixed:
        console.print(f"all points: {', '.join(fixed)}", markup=False)
    points = list(dict.fromkeys(estimates["point"]))[:POINTS_MAX]
    shown = estimates[estimates["point"].isin(points)]
    responses = list(dict.fromkeys(shown["response"]))
    width = 7 + sum(min(_widest(shown[name], name), LABEL_MAX) + 1 for name in varied)
    units = _headed_units(study, shown)
    at_once = max((console.width - width) // (CELL_WIDTH + 1), 1)
    for first in range(0, len(responses), at_once):
        console.print(_table(shown, varied, {name: units[name] for name in responses[first : first + at_once]}))
    for line in said_of_errors(study.estimates):
        console.print(line, markup=False)
    if len(points) < estimates["point"].nunique():
        console.print(f"the first {len(points)} of {estimates['point'].nunique():,} points; all are in the report")
    _show_comparisons(study, console)


def _headed_units(study: StudyResult, estimates: pd.DataFrame) -> dict[str, str]:
    """The unit of each response, and what it is a share of where the measure's name leaves that open."""
    units: dict[str, str] = dict(zip(estimates["response"], estimates["unit"], strict=True))
    of = {one.name: MEASURES[one.measure].of for one in study.responses_config}
    return {name: f"{unit} of {of[name]}" if of[name] else unit for name, unit in units.items()}


def _widest(labels: pd.Series[Any], name: str) -> int:
    return max(int(labels.astype(str).str.len().max()), *map(len, _broken(_short(name), AXIS_WIDTH).split("\n")))


def _short(axis: str) -> str:
    """The last part of a dotted key; of a price, its name."""
    return axis.removesuffix(".value").rpartition(".")[2]


def _broken(name: str, width: int) -> str:
    """A name in lines that end after its parts, where it is wider than that."""
    lines = [""]
    for part in re.findall(r"[^_]*_+|[^_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _table(estimates: pd.DataFrame, varied: Sequence[str], responses: Mapping[str, str]) -> Table:
    """The responses, each with the unit that stands in its heading."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("point", justify="right")
    for name in varied:
        table.add_column(
            escape(_broken(_short(name), AXIS_WIDTH)), justify="left", overflow="fold", max_width=LABEL_MAX
        )
    for response, unit in responses.items():
        table.add_column(escape(f"{response}\n{unit}".rstrip()), justify="right", overflow="fold", min_width=CELL_WIDTH)
    for point, rows in estimates.groupby("point", sort=False):
        of = {row["response"]: row for row in rows.to_dict("records")}
        first = next(iter(of.values()))
        cells = [str(point), *(str(first[name]) for name in varied)]
        table.add_row(*map(escape, cells), *(estimate(of[response]) + _failed(of[response]) for response in responses))
    if cautions.some_failed(estimates[estimates["response"].isin(responses)]):
        table.caption = SERVED_ONLY
    return table


def _failed(row: dict[str, Any]) -> str:
    """The share of the requests that failed, below the latency of those that did not."""
    return f"\n{row['failed_share']:.2g} % failed" if row["failed_share"] > 0 else ""


def estimate(row: dict[str, Any]) -> str:
    """A mean and the half width of its interval, to the digit that the interval leaves: `157.3 ±3.5`."""
    mean, width = float(row["mean"]), (float(row["ci_high"]) - float(row["ci_low"])) / 2
    if math.isnan(mean):
        return "-"
    if math.isnan(width):
        return f"{mean:,.4g}"
    if width == 0:
        return f"{mean:,.4g} ±0"
    largest = max(abs(mean), width)
    digits = min(max(1 - math.floor(math.log10(width)), 0), max(LEAST_DIGITS - math.floor(math.log10(largest)), 0))
    return f"{mean:,.{digits}f} ±{width:,.{digits}f}"


def _show_comparisons(study: StudyResult, console: Console) -> None:
    """Of each comparison, how many differences are shown, and those of which that is surest."""
    compared = study.comparisons
    there = set(compared["comparison"])
    left_out = [one.name for one in study.comparisons_config if one.name not in there]
    if left_out:
        text = f"left out, as no two levels of them were run: comparisons {', '.join(left_out)}"
        console.print(text, markup=False, soft_wrap=True)
    if compared.empty:
        return
    primary = {response.name for response in study.responses_config if response.primary}
    for name, rows in compared.groupby("comparison", sort=False):
        tested = rows[rows["p_holm"].notna()]
        shown = tested[is_shown(tested)]
        nr_within = int(tested["significant"].sum()) - len(shown)
        unknown = of_unknown_error(shown)
        of = f"{len(shown):,} of {len(tested):,} differences are shown{unknown} (Holm, within each response)"
        also = f"; {nr_within:,} more are within the model's error" if nr_within else ""
        console.print(f"{name}, against {rows['baseline'].iloc[0]}: {of}{also}", markup=False)
        for response, of_primary in tested[tested["response"].isin(primary)].groupby("response"):
            nr_shown = int(is_shown(of_primary).sum())
            told = f"of {response}, which is primary: {nr_shown:,} of {len(of_primary):,}"
            console.print(told, markup=False)
        same = list(dict.fromkeys(rows[same_everywhere(rows)]["response"]))
        if same:
            console.print(f"the same everywhere, and not tested: {', '.join(same)}", markup=False)
        by_role = shown.assign(secondary=~shown["response"].isin(primary))
        surest = by_role.sort_values(["secondary", "p"], kind="stable").head(COMPARED_MAX)
        if len(surest):
            console.print(_compared(study, surest))
        if len(surest) < len(shown):
            console.print(f"the {len(surest)} surest; all are in the report")


def _compared(study: StudyResult, rows: pd.DataFrame) -> Table:
    axis = str(rows["axis"].iloc[0])
    others = [one.name for one in study.axes if one.name != axis and study.comparisons[one.name].nunique() > 1]
    table = Table(box=SIMPLE_HEAD, padding=0)
    for heading in (_short(axis), *map(_short, others), "response"):
        table.add_column(escape(_broken(heading, COMPARED_WIDTH)), overflow="fold", max_width=LABEL_MAX)
    some_failed = cautions.some_failed(rows)
    for heading in (
        "difference",
        "95 % interval",
        "relative",
        "model's error",
        *(["failed\n%"] if some_failed else []),
    ):
        table.add_column(heading, justify="right")
    for row in rows.to_dict("records"):
        unit = f" {row['unit']}" if row["unit"] else ""
        relative = "-" if math.isnan(row["relative"]) else f"{row['relative']:+.1%}"
        labels = [*(str(row[name]) for name in ("level", *others)), _broken(str(row["response"]), COMPARED_WIDTH)]
        interval = f"{row['ci_low']:+,.3g} to {row['ci_high']:+,.3g}"
        cells = [
            escape(f"{row['difference']:+,.3g}{unit}"),
            interval,
            relative,
            in_words(row["model_error"], row["unit"]),
        ]
        table.add_row(*map(escape, labels), *cells, *([failed_of_both(row)] if some_failed else []))
    if some_failed:
        table.caption = SERVED_ONLY
    return table


def failed_of_both(row: dict[str, Any]) -> str:
    """The shares of allocations that failed, baseline and level, where the response is of those that did not."""
    shares = (row["baseline_failed_share"], row["failed_share"])
    return "" if all(map(math.isnan, shares)) else " -> ".join(f"{share:.3g}" for share in shares)
