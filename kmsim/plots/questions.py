"""The answers of `kmsim limits` and `kmsim waste` as tables in a terminal."""

from __future__ import annotations

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kmsim.config.orders import EXCLUSIVE_BEFORE, largest_order_in_words
from kmsim.study.limits import FormulaRow, LimitRow
from kmsim.study.waste import WasteRow
from kmsim.units import SIZE_UNITS, format_size

WASTED = "wasted\n% of taken"  # the one definition, as of the response internal_waste
_DEFAULT_ORDERS = {4096: 10, 16384: 11, 65536: 13}  # CONFIG_ARCH_FORCE_MAX_ORDER left alone (kernel: arch Kconfig)


def show_limits(row: LimitRow, console: Console) -> None:
    """The largest request of each API, a line each, and what the order is called in each kernel release."""
    formula = row.formula
    title = f"largest request on {row.machine}, {row.gfp}"
    left = ("API", "what sets it", "use instead")
    table = _table(title, "API", "on paper", "now", "what sets it", "use instead", left=left)
    for api in row.apis:
        table.add_row(api.api, size_text(api.on_paper), size_text(api.now), api.sets_it, api.use_instead)
    console.print(table)
    order, page = formula.max_page_order, format_size(formula.page_size)
    shift = largest_order_in_words(order, row.series)
    shift = f"({shift} - 1)" if row.series < EXCLUSIVE_BEFORE else shift
    console.print(f"KMALLOC_MAX_SIZE {format_size(formula.kmalloc_max_size)} = {page} << {shift}")
    console.print(f"KMALLOC_MAX_CACHE_SIZE {format_size(formula.kmalloc_max_cache_size)}: up to here from slab caches")
    console.print("vmalloc, and kvmalloc by vmalloc: contiguous addresses only; `now` is an upper bound")
    _show_meanings(
        console, f"MAX_ORDER {formula.max_order_before_6_4}", f"MAX_ORDER {order}", f"MAX_PAGE_ORDER {order}"
    )


def show_all_limits(rows: list[FormulaRow], console: Console) -> None:
    """KMALLOC_MAX_SIZE by largest order and page size, and what is the same for all orders of a page size."""
    page_sizes = sorted({row.page_size for row in rows})
    found = {(row.max_page_order, row.page_size): row for row in rows}
    pages = [f"{format_size(page)}\npages" for page in page_sizes]
    table = _table("largest kmalloc (KMALLOC_MAX_SIZE)", "MAX_PAGE_ORDER", "MAX_ORDER\nbefore 6.4", *pages, left=())
    for order in sorted({order for order, _ in found}):
        cells = []
        for page in page_sizes:
            mark = "*" if order == _DEFAULT_ORDERS[page] else " "
            cells.append(
                f"{format_size(found[order, page].kmalloc_max_size)}{mark}" if (order, page) in found else "- "
            )
        table.add_row(str(order), str(order + 1), *cells)
    console.print(table)
    console.print("* the default; the limit of alloc_pages and alloc_pages_exact, too")

    def each(text: dict[int, str]) -> str:
        return ", ".join(f"{text[page]} with {format_size(page)} pages" for page in page_sizes)

    caches = {row.page_size: format_size(row.kmalloc_max_cache_size) for row in rows}
    console.print(f"from slab caches (KMALLOC_MAX_CACHE_SIZE): up to {each(caches)}", soft_wrap=True)
    huge = {
        page: str(min(row.max_page_order for row in rows if row.page_size == page and row.thp)) for page in page_sizes
    }
    console.print(f"huge pages (THP) can be built in from order: {each(huge)}", soft_wrap=True)
    _show_meanings(console, "MAX_ORDER", "MAX_ORDER", "MAX_PAGE_ORDER")


def _show_meanings(console: Console, before: str, between: str, now: str) -> None:
    """What the largest order is called, by release."""
    console.print(f"before Linux 6.4: {before}, one more than the largest order")
    console.print(f"Linux 6.4 to 6.7: {between}, the largest order")
    console.print(f"from Linux 6.8 on: {now}, the largest order; MAX_ORDER is gone")


def show_waste(rows: list[WasteRow], machine: str, console: Console) -> None:
    """A block of lines for each size."""
    title = f"bytes taken on {machine}, by the way to ask for them"
    table = _table(title, "size", "asked by", "usable", "taken", WASTED, "from", left=("asked by", "from"))
    for size, of_size in groupby(rows, lambda row: row.size):
        for n, row in enumerate(of_size):
            bytes_ = ("fails", "-") if row.fails else (f"{row.usable_bytes:,}", _bytes(row.taken_bytes))
            table.add_row("" if n else f"{size:,}", row.api, *bytes_, _percent(row), row.source)
        table.add_section()
    console.print(table)
    console.print("usable: by kmalloc, what ksize() says")
    console.print("taken: objects with their share of what a slab has left over, vmalloc with its")
    console.print("page-table entries, array of pages, vm_struct and vmap_area")


def show_waste_of_range(rows: list[WasteRow], machine: str, console: Console) -> None:
    """A line for each size: what kmalloc takes, and the share that each way wastes."""
    apis = list(dict.fromkeys(row.api for row in rows))
    title = f"wasted on {machine}, % of the memory taken"
    names = [api.replace("alloc_pages", "alloc_\npages") for api in apis]
    table = _table(title, "size", "kmalloc takes", *names, left=())
    for size, of_size in groupby(rows, lambda row: row.size):
        by_api = {row.api: row for row in of_size}
        first = by_api[apis[0]]
        table.add_row(
            f"{size:,}",
            "fails" if first.fails else _bytes(first.taken_bytes),
            *(_percent(by_api[api]) for api in apis),
        )
    console.print(table)


def size_text(nr_bytes: int) -> str:
    """A size in its largest whole unit; one that is whole in none but KiB, with a decimal."""
    if (nr_bytes + 1) % SIZE_UNITS["GiB"] == 0:
        return f"{format_size(nr_bytes + 1)}-1"  # INT_MAX
    for unit, scale in reversed(SIZE_UNITS.items()):
        if nr_bytes >= scale:
            return f"{nr_bytes // scale}{unit}" if nr_bytes % scale == 0 else f"{nr_bytes / scale:.1f}{unit}"
    return "nothing"


def _percent(row: WasteRow) -> str:
    return "-" if row.fails else f"{row.waste_percent:,.1f}"


def _bytes(taken: float) -> str:
    return f"{taken:,.1f}" if taken < 1024 and taken != int(taken) else f"{taken:,.0f}"


def _table(title: str, *headings: str, left: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table
