"""A result whose files are whole but whose rows do not fit together is refused, and the table named."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kmsim.study.checksums import seal
from kmsim.study.rows import WrongRows, check_rows
from kmsim.study.runner import run_study
from kmsim.study.store import NotAResult, Result, load
from tests.studies import study


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("rows") / "run"
    run_study(study(), out)
    return load(out)


def of_other(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The table with another value in the last row of a column."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: [*table[column].iloc[:-1], value]})

    return change


def none(table: pd.DataFrame) -> pd.DataFrame:
    return table.head(0)


def without_the_last(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[:-1]


def first_twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.head(1), table])


CASES = {
    "samples of a zone that memory has not": ("samples", of_other("zone", "Other")),
    "samples of an order twice": ("samples", of_other("order", 3)),
    "no samples": ("samples", none),
    "a sample cut": ("samples", without_the_last),
    "samples of another instant": ("samples", lambda table: table[table["time_ns"] == 0]),
    "no memory": ("memory", none),
    "memory cut": ("memory", without_the_last),
    "latencies cut": ("histograms", without_the_last),
    "no latencies": ("histograms", none),
    "more latencies": ("histograms", first_twice),
    "latencies of another CPU": ("histograms", of_other("cpu", 77)),
    "a CPU that is not there": ("cpus", of_other("cpu", 77)),
    "no CPUs": ("cpus", none),
    "a lock twice": ("locks", first_twice),
    "a counter twice": ("vmstat", first_twice),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_that_do_not_fit_are_refused_and_their_table_named(case: str, result: Result) -> None:
    table, change = CASES[case]
    tables = dict(result.tables)
    check_rows(tables)
    tables[table] = change(tables[table])
    with pytest.raises(WrongRows, match=r"^must (have|count) ") as refused:
        check_rows(tables)
    assert refused.value.table == table


def test_a_folder_with_such_rows_is_no_result(tmp_path: Path) -> None:
    run_study(study(), tmp_path / "run")
    path = tmp_path / "run" / "samples.parquet"
    without_the_last(pd.read_parquet(path)).to_parquet(path, index=False)
    sealed = [str(name.relative_to(tmp_path / "run")) for name in (tmp_path / "run").rglob("*") if name.is_file()]
    seal(tmp_path / "run", [name for name in sealed if name not in ("checksums.json", "timing.json", "lock")])
    with pytest.raises(NotAResult, match=r"; samples\.parquet: must have one row for each zone and order"):
        load(tmp_path / "run")
