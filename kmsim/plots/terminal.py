"""All tables of a result in a terminal; what it has answered says `plots.answer`."""

from __future__ import annotations

from math import isnan
from typing import Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.study.store import Result
from kmsim.study.summary import (
    asks_for_pages_only,
    fragmentation_summary,
    operations_summary,
    time_summary,
    what_is_asked_for,
)
from kmsim.units import PS_PER_NS, TIME_UNITS, time_unit

IN_MILLIONS = 10**7  # counts from here on are said in millions, so that every table fits into 80 columns
SINGLES_MAX = 10  # that are listed, of those that a run keeps
LOCKS_MAX = 12  # that are listed; there may be one for each cache
TEXT_COLUMNS = {"kind", "what", "task", "gfp", "part", "lock"}
NAMES = {"what", "lock", "task"}  # these may be long, and are folded where there is no room
OPERATION_COLUMNS = {
    "kind": "kind",
    "gfp": "gfp",
    "order": "order",
    "count": "count",
    "failed": "failed",
    "p50_ns": "p50",
    "p90_ns": "p90",
    "p99_ns": "p99",
    "p999_ns": "p99.9",
}
# Where not all is asked of the page allocator.
WHAT_COLUMNS = {
    "kind": "kind",
    "what": "what",
    "gfp": "gfp",
    "count": "count",
    "failed": "failed",
    "p50_ns": "p50",
    "p99_ns": "p99",
    "p999_ns": "p99.9",
}
SINGLE_COLUMNS = {
    "began": "start us",
    "latency_ns": "took",
    "cpu": "CPU",
    "task": "task",
    "kind": "kind",
    "what": "what",
    "came_to": "block",
}
_KERNEL_MESSAGES = {
    "no_addresses": "vmalloc_node_range for size ... failed: Address range restricted to ... - ...",
    "exceeds_memory": "vmalloc error: size ..., exceeds total pages",
    "no_vm_struct": "vmalloc error: size ..., vm_struct allocation failed",
    "no_array": "vmalloc error: size ..., failed to allocated page array size ...",
    "no_pages": "vmalloc error: size ..., failed to allocate pages",
    "no_table": "vmalloc error: size ..., failed to map pages",
}
TIME_COLUMNS = {
    "part": "part",
    "percent": "all CPUs, %",
    "percent_min": "least of a CPU, %",
    "percent_max": "most of a CPU, %",
}
LOCK_COLUMNS = {
    "lock": "lock",
    "acquisitions": "taken",
    "contended": "contended",
    "wait_total_ns": "wait",
    "wait_max_ns": "longest",
    "hold_total_ns": "hold",
    "hold_max_ns": "longest",
}


def show_result(result: Result, console: Console) -> None:
    """Print the tables of a run."""
    facts = result.provenance
    show_notes(result, console)
    operations = operations_summary(result)
    # A flag a line: several in a row have no room.
    by_line = operations.assign(gfp=operations["gfp"].str.replace("|", "\n|"), what=what_is_asked_for(operations))
    columns = OPERATION_COLUMNS if asks_for_pages_only(operations) else WHAT_COLUMNS
    console.print(_table(f"{facts['name']}, seed {facts['seed']}", by_line, columns))
    slow = int(operations["needs_slow_path"].sum())
    if slow:
        console.print(f"{slow:,} requests would have {slow_path_of(result)}; that is not simulated yet")
    for message in kernel_messages(result):
        console.print(message)
    time = time_summary(result)
    time["part"] = time["part"].str.replace("_", " ")
    for column in ("percent", "percent_min", "percent_max"):
        time[column] = time[column].map("{:.1f}".format)
    console.print(_table("where the CPUs' time went", time, TIME_COLUMNS))
    locks = result.locks
    of_zones = all(name.startswith("zone ") for name in locks["lock"])
    most = locks.nlargest(LOCKS_MAX, ["wait_total_ns", "hold_total_ns"]).sort_index()
    console.print(_table("zone locks" if of_zones else "locks", most, LOCK_COLUMNS))
    if len(most) < len(locks):
        console.print(f"and {len(locks) - len(most)} locks that were waited for less, or not at all")
    frag = fragmentation_summary(result)
    headings = {name: str(name).replace("_", " ") for name in frag.columns}
    console.print(_table("free memory at the end", frag, headings))
    if len(result.single_operations):
        _show_longest(result.single_operations, console)


def _show_longest(singles: pd.DataFrame, console: Console) -> None:
    """Print those of the single operations that took longest, in the order in which they ended."""
    longest = singles.nlargest(SINGLES_MAX, "latency_ns").sort_index()
    began = [f"{time * PS_PER_NS / TIME_UNITS['us']:,.3f}" for time in longest["start_ns"]]
    came_to = ["failed" if failed else f"{block:,}" for failed, block in longest[["failed", "block"]].to_numpy()]
    shown = longest.assign(began=began, came_to=came_to, what=what_is_asked_for(longest))
    title = f"single operations, the {len(longest)} longest of {len(singles):,}"
    console.print(_table(title, shown, SINGLE_COLUMNS))


def show_notes(result: Result, console: Console) -> None:
    """Print what is to be known of a run before its tables are read."""
    for note in (*result.provenance["notes"], *result.remarks):
        console.print(f"note: {escape(note)}", style="yellow")


def slow_path_of(result: Result) -> str:
    """What the requests that needed the slow path would have done; a machine that reclaims counts what it scans."""
    return "compacted" if (result.vmstat["name"] == "pgscan_direct").any() else "reclaimed or compacted"


def kernel_messages(result: Result) -> list[str]:
    """What the kernel would have said of failures of vmalloc, as Linux 6.12 words it, and how often."""
    counts = dict(zip(result.vmstat["name"], result.vmstat["value"], strict=True))
    said = []
    for name, text in _KERNEL_MESSAGES.items():
        times = int(counts.get(f"kmsim:vmalloc_failed_{name}", 0))
        if times:
            said.append(f"{times:,} times: {text}")
    return said


def _table(title: str, rows: pd.DataFrame, headings: dict[str, str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=0)
    has_names = not NAMES.isdisjoint(headings)
    units = {column: unit_of(rows[column]) for column in headings if column.endswith("_ns")}
    for column, heading in headings.items():
        justify: Literal["left", "right"] = "left" if column in TEXT_COLUMNS else "right"
        text = f"{heading}\n{units[column]}" if column in units else heading
        table.add_column(escape(text), justify=justify, no_wrap=has_names and column not in NAMES, overflow="fold")
    for row in rows[list(headings)].to_dict("records"):
        cells = (time_text(row[of], units[of]) if of in units else _cell(row[of]) for of in headings)
        table.add_row(*cells)
    return table


def unit_of(times: pd.Series[float]) -> str:
    """The unit of a column of nanoseconds: the largest in which its longest is at least 1."""
    return time_unit(float(times.max()))[0]


def time_text(ns: float, unit: str) -> str:
    """A time in a unit, with three digits; - where there is none."""
    if isnan(ns):
        return "-"
    value = ns * PS_PER_NS / TIME_UNITS[unit]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(value: object) -> str:
    if isinstance(value, float) and isnan(value):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < IN_MILLIONS else f"{value / 10**6:,.0f}M"
    return escape(str(value))
