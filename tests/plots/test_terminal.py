"""The tables in a terminal of 80 columns: complete, aligned, and what the user's names hold is not markup."""

import json
import re
from dataclasses import replace
from io import StringIO
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from kmsim.plots import terminal
from kmsim.plots.terminal import show_result
from kmsim.session.console import print_json
from kmsim.study.single_operations import SINGLE_OPERATIONS, SINGLE_OPERATIONS_COLUMNS
from kmsim.study.store import Result
from kmsim.study.summary import operations_summary
from tests.plots.results import RESULTS, result_of


def shown(result: Result, width: int = 80) -> str:
    text = StringIO()
    show_result(result, Console(file=text, width=width, highlight=False))
    return text.getvalue()


def huge(result: Result) -> Result:
    """The same after a long run: counts and times as large as they may get."""
    tables = {name: table.copy() for name, table in result.tables.items()}
    for name, columns in {
        "operations": ("count", "failed", "mean_ns", "max_ns"),
        "locks": ("acquisitions", "contended", "wait_total_ns", "wait_max_ns", "hold_total_ns", "hold_max_ns"),
    }.items():
        for column in columns:
            tables[name][column] = tables[name][column] * 0 + 10**9
    tables["operations"].loc[tables["operations"]["max_ns"].isna(), "count"] = 0
    return replace(result, tables=tables)


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("length", [lambda result: result, huge], ids=["short run", "long run"])
def test_no_cell_is_cut_at_80_columns(name: str, length: Any) -> None:
    text = shown(length(result_of(name)))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "nan" not in text
    if length is huge and name != "no operation":
        assert "000M" in text
        assert re.search(r"\d(\.\d+)?e\d", text) is None, "no power of ten"


def test_numbers_are_aligned_and_grouped() -> None:
    rows = [line for line in shown(result_of("all orders")).splitlines() if line.startswith(" alloc")]
    assert [row.split()[:5] for row in rows] == [["alloc", "GFP_KERNEL", str(order), "80", "0"] for order in range(11)]
    assert len({len(row) for row in rows}) == 1


def test_each_flag_of_a_request_has_its_line() -> None:
    words = [line.split() for line in shown(result_of("all flags")).splitlines()]
    first = next(i for i, line in enumerate(words) if line[:3] == ["alloc", "GFP_HIGHUSER_MOVABLE", "0"])
    assert words[first + 1 : first + 3] == [["|__GFP_ZERO"], ["|__GFP_ACCOUNT"]]


def test_where_the_time_went_is_in_percent() -> None:
    result = result_of("all orders")
    waited = 100 * result.cpus["lock_wait_ns"] / result.cpus["run_ns"]
    words = [line.split() for line in shown(result).splitlines()]
    assert ["lock", "wait", f"{waited.mean():.1f}", f"{waited.min():.1f}", f"{waited.max():.1f}"] in words
    parts = [line for line in words if line[:1] in (["idle"], ["unfinished"])]
    assert [len(line) for line in parts] == [4, 4]


def test_requests_that_would_have_reclaimed_are_named() -> None:
    text = shown(result_of("exhausted"))
    count = result_of("exhausted").operations["needs_slow_path"].sum()
    assert f"{count:,} requests would have reclaimed or compacted" in text


def test_notes_come_first_and_are_no_markup() -> None:
    result = result_of("one operation")
    noted = replace(result, provenance=result.provenance | {"notes": ["[red]MAX_ORDER[/red] 11"], "name": "a[b]"})
    lines = shown(noted).splitlines()
    assert lines[0] == "note: [red]MAX_ORDER[/red] 11"
    assert lines[1].startswith("a[b], seed 1")


def columns_of(text: str, heading: str) -> list[str]:
    """The cells of a column on the left, as it is headed; lines that only go on are left out."""
    lines = text.splitlines()
    head = next(line for line in lines if line.split()[:1] == ["kind"])
    start = head.index(heading)
    end = start + re.search(r"^\S+\s+", head[start:]).end()  # type: ignore[union-attr]
    return [line[start:end].strip() for line in lines if re.match(r" (alloc|free) ", line)]


def test_pages_are_told_apart_by_their_order_and_all_else_by_what_it_is() -> None:
    assert columns_of(shown(result_of("all orders")), "order") == [str(order) for order in range(11)] * 2
    found = columns_of(shown(result_of("every allocator")), "what")
    assert {"order 3", "exact, order 3", "bulk", "kmalloc-96", "kmalloc-8k", "kmalloc-rcl-96"} <= set(found)
    assert all(any(name.startswith(f"{api}, order") for name in found) for api in ("vmalloc", "kmalloc"))
    assert any("skbuff_head_cache".startswith(name) for name in found)  # and so does a name
    assert len(found) == len(operations_summary(result_of("every allocator")))


def test_of_many_locks_those_are_shown_that_were_waited_for_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LOCKS_MAX", 4)
    locks = result_of("every allocator").locks
    text = shown(result_of("every allocator"))
    assert f"and {len(locks) - 4} locks that were waited for less, or not at all" in text
    listed = text[text.index("\nlocks ") : text.index("locks that were waited")]
    most = locks.nlargest(4, ["wait_total_ns", "hold_total_ns"]).sort_index()["lock"]
    assert [name for name in locks["lock"] if f" {name} " in listed] == most.tolist()


def kept(**changed: Any) -> pd.DataFrame:
    """A single operation as a run keeps it, and one that took less."""
    row = dict.fromkeys(SINGLE_OPERATIONS_COLUMNS, 0) | {"api": "pages", "kind": "alloc", "task": "a/cpu1", "cache": ""}
    rows = [row | {"latency_ns": 10.0, "start_ns": 1500.0}, row | {"latency_ns": 400.5, "start_ns": 3e9} | changed]
    return pd.DataFrame(rows)


def with_singles(singles: pd.DataFrame) -> Result:
    result = result_of("all orders")
    return replace(result, tables={**result.tables, SINGLE_OPERATIONS: singles})


def test_the_longest_single_operations_are_listed_where_the_run_keeps_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "single operations" not in shown(result_of("all orders"))
    monkeypatch.setattr(terminal, "SINGLES_MAX", 1)
    text = shown(with_singles(kept(order=3, cpu=1, block=77_824)))
    assert "single operations, the 1 longest of 2" in text
    assert re.search(r"3,000,000.000 +400 +1 +a/cpu1 +alloc +order 3 +77,824", text)
    assert "failed" in shown(with_singles(kept(failed=1, block=-1))).splitlines()[-2]


def test_single_operations_with_long_names_fit_into_80_columns() -> None:
    text = shown(with_singles(kept(task="a" * 64 + "/cpu255/12", api="slab", cache="a" * 60, block=10**9)))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_single_operations_are_in_the_json_of_a_run_that_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(result_of("all orders"))
    assert SINGLE_OPERATIONS not in json.loads(capsys.readouterr().out)
    print_json(with_singles(kept(order=3)))
    assert [row["latency_ns"] for row in json.loads(capsys.readouterr().out)[SINGLE_OPERATIONS]] == [10.0, 400.5]
