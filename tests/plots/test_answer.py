"""The answer of a run in a terminal: what was asked for and given, why it failed, what was slow."""

from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from kmsim.plots.answer import show_answer, time_text, unit_of
from kmsim.study.store import Result
from kmsim.study.summary import operations_summary
from tests.plots.results import RESULTS, result_of


def shown(result: Result) -> list[str]:
    text = StringIO()
    show_answer(result, Console(file=text, width=80, highlight=False))
    return text.getvalue().splitlines()


@pytest.mark.parametrize("name", RESULTS)
def test_the_first_line_counts_what_was_asked_for_and_given(name: str) -> None:
    result = result_of(name)
    allocs = operations_summary(result).query("kind != 'free'")
    given, failed = int(allocs["count"].sum()), int(allocs["failed"].sum())
    first = next(line for line in shown(result) if not line.startswith("note: "))
    assert f": {given + failed:,} request" in first
    assert first.endswith(f"{given:,} given, {failed:,} failed")


@pytest.mark.parametrize("name", RESULTS)
def test_the_table_fits_and_no_number_is_written_with_an_exponent(name: str) -> None:
    lines = shown(result_of(name))
    table = [line for line in lines if line.startswith(" ")]
    assert max(map(len, table)) <= 80
    assert not any("e+" in line or "nan" in line or "…" in line for line in lines)


def test_why_requests_failed_is_said() -> None:
    result = result_of("exhausted")
    slow = int(result.operations["needs_slow_path"].sum())
    assert f"failed: {slow:,} would have reclaimed or compacted, which is not simulated" in shown(result)


def test_the_slowest_operation_and_where_the_time_went_are_said() -> None:
    result = result_of("all orders")
    lines = shown(result)
    operations = operations_summary(result)
    slowest = operations.loc[operations["p99_ns"].idxmax()]
    (line,) = [line for line in lines if line.startswith("slowest: ")]
    assert line.startswith(
        f"slowest: {slowest['kind']} of order {slowest['order']}, {slowest['gfp']}: one in 100 takes "
    )
    (line,) = [line for line in lines if line.startswith("where the CPUs' time went: ")]
    shares = [float(part.split()[-2]) for part in line.partition(": ")[2].split(", ")]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)


def test_names_are_no_markup() -> None:
    result = result_of("one operation")
    named = replace(result, provenance=result.provenance | {"name": "a[b]"})
    assert shown(named)[0].startswith("a[b], seed 1: ")


@pytest.mark.parametrize(
    ("times", "unit", "texts"),
    [
        ([59.0, 805.0], "ns", ["59", "805"]),
        ([59.0, 169_000.0], "us", ["0.059", "169"]),
        ([1e9, 2.5e9, float("nan")], "s", ["1", "2.5", "-"]),
        ([0.5], "ns", ["0.5"]),
    ],
)
def test_a_column_has_the_unit_of_its_longest_time(times: list[float], unit: str, texts: list[str]) -> None:
    assert unit_of(pd.Series(times)) == unit
    assert [time_text(ns, unit) for ns in times] == texts
