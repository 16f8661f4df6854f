"""The answer of a run in a terminal: what was asked for and given, how long it took, what was slow and why.

All tables are `plots.terminal`; here each column of times has the unit that fits it.
"""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.plots.terminal import kernel_messages, show_notes, slow_path_of, time_text, unit_of
from kmsim.study.store import Result
from kmsim.study.summary import operations_summary, time_summary, what_is_asked_for
from kmsim.text import nr_of
from kmsim.units import time_unit

TIMES = {"mean_ns": "mean", "p99_ns": "p99", "max_ns": "longest"}
LEAST_PERCENT = 0.1  # of the CPUs' time that is worth a word


def show_answer(result: Result, console: Console) -> None:
    """Print what a run has answered."""
    show_notes(result, console)
    facts, operations = result.provenance, operations_summary(result)
    allocs = operations[operations["kind"] != "free"]
    given, failed = int(allocs["count"].sum()), int(allocs["failed"].sum())
    asked = nr_of(given + failed, "request")
    console.print(
        f"{facts['name']}, seed {facts['seed']}: {asked}, {given:,} given, {failed:,} failed",
        markup=False,
    )
    console.print(_operations(operations))
    for line in (*_failures(operations, result), *_slow(operations), *_waited(result), _time(result)):
        console.print(line, markup=False, soft_wrap=True)


def _operations(operations: pd.DataFrame) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0)
    units = {column: unit_of(operations[column]) for column in TIMES}
    for heading in ("kind", "asked for", "flags"):
        table.add_column(heading, overflow="fold")
    for heading in ("given", "failed", *(f"{name}\n{units[column]}" for column, name in TIMES.items())):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, row in zip(what_is_asked_for(operations), operations.to_dict("records"), strict=True):
        cells = [str(row["kind"]), what, str(row["gfp"]).replace("|", "\n|"), f"{row['count']:,}", f"{row['failed']:,}"]
        cells += [time_text(float(row[column]), units[column]) for column in TIMES]
        table.add_row(*map(escape, cells))
    return table


def _with_unit(ns: float) -> str:
    unit, _ = time_unit(ns)
    return f"{time_text(ns, unit)} {unit}"


def _failures(operations: pd.DataFrame, result: Result) -> list[str]:
    """Why requests failed."""
    failed, slow = int(operations["failed"].sum()), int(operations["needs_slow_path"].sum())
    lines = []
    if slow:
        lines.append(f"failed: {slow:,} would have {slow_path_of(result)}, which is not simulated")
    if failed > slow:
        lines.append(f"failed: {failed - slow:,} found no memory that their flags may use (page allocation failure)")
    return lines + kernel_messages(result)


def _slow(operations: pd.DataFrame) -> list[str]:
    """Which operation has the slowest p99."""
    timed = operations[operations["p99_ns"].notna()]
    if timed.empty:
        return []
    slowest = timed.loc[timed["p99_ns"].idxmax()]
    (what,) = what_is_asked_for(timed.loc[[slowest.name]])
    p99, mean = _with_unit(float(slowest["p99_ns"])), _with_unit(float(slowest["mean_ns"]))
    return [
        f"slowest: {slowest['kind']} of {what}, {slowest['gfp']}: one in 100 takes {p99} or more, the mean is {mean}"
    ]


def _waited(result: Result) -> list[str]:
    """Which lock was waited for most."""
    locks = result.locks[result.locks["contended"] > 0]
    if locks.empty:
        return ["locks: nobody waited"]
    worst = locks.loc[locks["wait_total_ns"].idxmax()]
    times = f"{int(worst['contended']):,} of {int(worst['acquisitions']):,} times"
    total, longest = _with_unit(float(worst["wait_total_ns"])), _with_unit(float(worst["wait_max_ns"]))
    return [f"waited most for: {worst['lock']}, {times}, {total} in all, {longest} at the longest"]


def _time(result: Result) -> str:
    """Where the CPUs' time went, the largest part first."""
    parts = time_summary(result).sort_values("percent", ascending=False, kind="stable")
    parts = parts[parts["percent"] >= LEAST_PERCENT]
    said = [
        f"{part.replace('_', ' ')} {percent:.1f} %"
        for part, percent in zip(parts["part"], parts["percent"], strict=True)
    ]
    return f"where the CPUs' time went: {', '.join(said)}"
