"""The answers of `kmsim limits` and `kmsim waste` as tables in a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kmsim.study.limits import FormulaRow, LimitRow
from kmsim.study.waste import WasteRow
from kmsim.units import format_size


def show_limits(row: LimitRow, console: Console) -> None:
    """One machine's limits, a line each, and what the order is called in each kernel release."""
    formula = row.formula
    order, page = formula.max_page_order, format_size(formula.page_size)
    table = _table(f"kmalloc on {row.machine}", "limit", "value", "what sets it")
    table.add_row("KMALLOC_MAX_SIZE", format_size(formula.kmalloc_max_size), f"{page} << MAX_PAGE_ORDER {order}")
    table.add_row("KMALLOC_MAX_CACHE_SIZE", format_size(formula.kmalloc_max_cache_size), "two pages; above, no cache")
    table.add_row("KMALLOC_MAX_ORDER", str(formula.kmalloc_max_order), "MAX_PAGE_ORDER")
    table.add_row("largest success", format_size(row.largest_success), row.why)
    console.print(table)
    console.print(f"before Linux 6.4: MAX_ORDER {formula.max_order_before_6_4}, one more than the largest order")
    console.print(f"Linux 6.4 to 6.7: MAX_ORDER {order}, the largest order")
    console.print(f"from Linux 6.8 on: MAX_PAGE_ORDER {order}, the largest order; MAX_ORDER is gone")


def show_all_limits(rows: list[FormulaRow], console: Console) -> None:
    """A line for each page size and order."""
    headings = ("page", "order", "MAX_ORDER\n< 6.4", "THP", "KMALLOC_\nMAX_SIZE", "from\ncaches")
    table = _table("kmalloc by page size and MAX_PAGE_ORDER, where there is memory", *headings, left=("THP",))
    for row in rows:
        table.add_row(
            format_size(row.page_size),
            str(row.max_page_order),
            str(row.max_order_before_6_4),
            "yes" if row.thp else "no",
            format_size(row.kmalloc_max_size),
            format_size(row.kmalloc_max_cache_size),
        )
    console.print(table)
    console.print("order is MAX_PAGE_ORDER from Linux 6.8 on, and MAX_ORDER from 6.4 to 6.7")


def show_waste(rows: list[WasteRow], machine: str, console: Console) -> None:
    """A block of lines for each size."""
    title = f"bytes taken on {machine}, by the way to ask for them"
    table = _table(title, "size", "asked by", "taken", "waste %", "from", left=("asked by", "from"))
    last = None
    for row in rows:
        if last is not None and row.size != last:
            table.add_section()
        taken = "fails" if row.fails else _bytes(row.taken_bytes)
        waste = "-" if row.fails else f"{row.waste_percent:,.1f}"
        table.add_row("" if row.size == last else f"{row.size:,}", row.api, taken, waste, row.source)
        last = row.size
    console.print(table)


def _bytes(taken: float) -> str:
    return f"{taken:,.0f}" if taken == int(taken) else f"{taken:,.1f}"


def _table(title: str, *headings: str, left: tuple[str, ...] = ("limit", "what sets it")) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table
