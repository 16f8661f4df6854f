"""A result as tables in a terminal."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.study.store import Result
from kmsim.study.summary import fragmentation_summary, operations_summary

NARROW = 1_000_000  # from here on three digits, so that every table fits into 80 columns
OPERATION_COLUMNS = {
    "kind": "kind",
    "order": "order",
    "count": "count",
    "failed": "failed",
    "mean_ns": "mean ns",
    "p50_ns": "p50 ns",
    "p99_ns": "p99 ns",
    "max_ns": "max ns",
}
LOCK_COLUMNS = {
    "lock": "lock",
    "acquisitions": "taken",
    "contended": "contended",
    "wait_total_ns": "wait ns",
    "wait_max_ns": "longest",
    "hold_total_ns": "hold ns",
    "hold_max_ns": "longest",
}


def show_result(result: Result, console: Console) -> None:
    """Print what a run came to."""
    facts = result.provenance
    for note in facts["notes"]:
        console.print(f"note: {escape(note)}", style="yellow")
    operations = operations_summary(result)
    console.print(_table(f"{facts['name']}, seed {facts['seed']}", operations, OPERATION_COLUMNS))
    slow = int(operations["needs_slow_path"].sum())
    if slow:
        console.print(f"{slow:,} requests would have reclaimed or compacted; that is not simulated yet")
    console.print(_table("zone locks", result.locks, LOCK_COLUMNS))
    frag = fragmentation_summary(result)
    headings = {name: str(name).replace("_", " ") for name in frag.columns}
    console.print(_table("free memory at the end", frag, headings))


def _table(title: str, rows: pd.DataFrame, headings: dict[str, str]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for column, heading in headings.items():
        numeric = pd.api.types.is_numeric_dtype(rows[column])
        table.add_column(escape(heading), justify="right" if numeric else "left")
    for row in rows[list(headings)].itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, int | float) and abs(value) >= NARROW:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e")
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(str(value))
