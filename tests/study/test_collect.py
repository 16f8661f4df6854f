"""A study's four tables: one documented schema, read alike by pandas, polars and DuckDB."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from kmsim.study.collect import RUNS, TABLES
from kmsim.study.executors import Serial
from kmsim.study.results import load_study
from tests.study.campaigns import run, small_design

Rows = list[tuple[Any, ...]]
COLUMNS = {"runs": [*RUNS, "live"], **{name: list(columns) for name, columns in TABLES.items()}}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of which one point has failed, so that some things are not known."""
    out = tmp_path_factory.mktemp("study") / "out"
    assert run(small_design(), out, Serial("tests.study.campaigns:wrong_with_16")).counts.failed == 2
    return out


def plain(rows: Any) -> Rows:
    """Rows with Python's own values; NaN, which equals nothing, and None as the same text."""
    return [tuple("none" if is_none(value) else value for value in row) for row in rows]


def is_none(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def by_pandas(path: Path) -> tuple[list[str], Rows]:
    table = pd.read_parquet(path)
    return list(table.columns), plain(table.astype(object).itertuples(index=False, name=None))


def by_polars(path: Path) -> tuple[list[str], Rows]:
    table = pl.read_parquet(path)
    return table.columns, plain(table.rows())


def by_duckdb(path: Path) -> tuple[list[str], Rows]:
    with duckdb.connect() as connection:
        found = connection.execute(f"select * from '{path}'")
        return [column[0] for column in found.description], plain(found.fetchall())


@pytest.mark.parametrize("name", COLUMNS)
def test_every_reader_reads_the_same(name: str, study: Path) -> None:
    columns, rows = by_pandas(study / f"{name}.parquet")
    assert columns == COLUMNS[name]
    assert len(rows) > 5
    assert by_polars(study / f"{name}.parquet") == (columns, rows)
    assert by_duckdb(study / f"{name}.parquet") == (columns, rows)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_types_are_those_that_are_documented(name: str, study: Path) -> None:
    schema = pq.read_schema(study / f"{name}.parquet")
    documented = {"runs": RUNS, **TABLES}[name]
    assert {column: schema.field(column).type for column in documented} == documented


def test_duckdb_joins_responses_with_axes(study: Path) -> None:
    text = f"""
        select live, response, count(*), avg(value) from '{study}/responses.parquet'
        join '{study}/runs.parquet' using (run) where not failed group by all order by all
    """
    with duckdb.connect() as connection:
        found = connection.execute(text).fetchall()
    assert [row[:3] for row in found] == [
        (live, response, 2) for live in ("32", "8") for response in ("failed_share", "latency_mean", "lock_wait_share")
    ]
    assert all(mean > 0 for live, response, _, mean in found if response == "latency_mean")


def test_what_a_lock_says_that_nobody_took_is_collected_as_not_known(tmp_path: Path) -> None:
    never = {"name": "never", "measure": "lock_wait_mean", "lock": "zone Normal"}  # of a machine of 64 MiB
    often = {"name": "often", "measure": "lock_wait_mean"}
    run(small_design(8, run={"batch": "1us"}, responses=[never, often]), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "responses.parquet")
    assert (table["batch"] >= 0).any(), "windows have rows, too"
    assert table[table["response"] == "never"]["value"].isna().all()
    assert table[table["response"] == "often"]["value"].notna().any()
    assert set(load_study(tmp_path / "out").estimates["response"]) == {"never", "often"}
