"""A study's folder that anybody may have written, checksums and all: bounded, held against models, refused by name."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmsim.study import parquet_file
from kmsim.study.checksums import CHECKSUMS_FILE, seal
from kmsim.study.results import load_study
from kmsim.study.store import SCHEMA_VERSION, NotAResult
from tests.study.campaigns import run, small_design

TEXT_FILES = ("design.json", "study.yaml", "provenance.json")
TABLES = ("runs.parquet", "responses.parquet", "histograms.parquet", "series.parquet")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "study"
    run(small_design(8, 16), folder)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "study")
    return tmp_path / "study"


def read(folder: Path) -> None:
    """All that a study has."""
    found = load_study(folder)
    found.histograms()
    found.series()
    for number in found.runs["run"]:
        found.run(number)


def refused(folder: Path) -> str:
    """What is said of a folder whose checksums are right."""
    seal(folder, sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in NOT_SEALED))
    with pytest.raises(NotAResult) as error:
        read(folder)
    (line,) = str(error.value).splitlines()
    return line


NOT_SEALED = {"lock", "timing.json", CHECKSUMS_FILE}
AXIS: dict[str, Any] = {"name": "live", "levels": ["8", "16"], "values": [8.0, 16.0], "unit": ""}
DESIGNS: dict[str, tuple[Any, str]] = {
    "no axes": ({"axes": []}, "must have the axes of study.yaml"),
    "another axis": ({"axes": [AXIS | {"name": "mine"}]}, "must have the axes of study.yaml, found mine"),
    "a million axes": ({"axes": [AXIS] * 10**6}, "must have at most"),
    "21 axes": ({"axes": [AXIS] * 21}, "must have axes as it was written"),
    "no levels": ({"axes": [AXIS | {"levels": []}]}, "must have axes.0.levels as it was written"),
    "other levels": ({"axes": [AXIS | {"levels": ["8", "17"]}]}, "must have the levels that design.json has"),
    "a level twice": ({"axes": [AXIS | {"levels": ["8", "8"]}]}, "no level may come twice"),
    "a level of lists": ({"axes": [AXIS | {"levels": [[], []]}]}, "must have axes.0.levels.0 as it was written"),
    "a value of text": ({"axes": [AXIS | {"values": ["8", "16"]}]}, "must have axes.0.values.0 as it was written"),
    "an infinite value": ({"axes": [AXIS | {"values": [1e400, 1]}]}, "must hold numbers, found Infinity"),
    "axes of text": ({"axes": "live"}, "must have axes as it was written, found 'live'"),
    "a name of numbers": ({"name": 5}, "must have name as it was written, found 5"),
    "a seed that is true": ({"seed": True}, "must have seed as it was written, found True"),
    "a huge seed": ({"seed": 10**300}, "must have seed as it was written"),
    "another version": ({"schema_version": 4}, f"must have schema_version {SCHEMA_VERSION}, found 4"),
    "a version of text": (
        {"schema_version": str(SCHEMA_VERSION)},
        f"must have schema_version {SCHEMA_VERSION}, found '{SCHEMA_VERSION}'",
    ),
    "more": ({"mine": 1}, "must not have 'mine'"),
    "dropped points of nothing": ({"dropped": [{}]}, "must have dropped.0.number"),
    "a name of half a character": ({"name": "\ud800"}, "must have name as it was written, found '\\ud800'"),
    "a name that a terminal obeys": ({"name": "\x1b[31mx"}, "must be text without control characters"),
    "a reason of half a character": (
        {"dropped": [{"number": 5, "labels": {"live": "9"}, "reason": "\ud800"}]},
        "must have dropped.0.reason as it was written",
    ),
    "a label of half a character": (
        {"dropped": [{"number": 5, "labels": {"live": "\ud800"}, "reason": "no"}]},
        "must have dropped.0.labels.live as it was written",
    ),
}


@pytest.mark.parametrize("case", DESIGNS)
def test_a_design_is_held_against_its_model(case: str, folder: Path) -> None:
    changes, message = DESIGNS[case]
    design = json.loads((folder / "design.json").read_text())
    (folder / "design.json").write_text(json.dumps(design | changes))
    said = refused(folder)
    assert message in said
    assert str(folder) in said


TEXTS = {
    "deep": ("[" * 100_000, "must not be nested so deeply"),
    "a mapping so deep": ('{"axes":' * 100_000, "must not be nested so deeply"),
    "a key twice": ('{"seed": 1, "seed": 2}', "must have each key once, found 'seed' twice"),
    "no number": ('{"seed": NaN}', "must hold numbers, found NaN"),
    "a number of 5,000 digits": ('{"seed": ' + "1" * 5_000 + "}", "limit"),
    "no text": ("\0", "Expecting value"),
    "nothing": ("", "Expecting value"),
    "a list": ("[1]", f"must have schema_version {SCHEMA_VERSION}, found None"),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", ["design.json", "provenance.json"])
def test_what_is_no_such_json_is_refused(name: str, case: str, folder: Path) -> None:
    text, message = TEXTS[case]
    (folder / name).write_text(text)
    said = refused(folder)
    assert said.startswith(f"{folder / name}: must be a study's file; ")
    assert message in said


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    assert not path.exists()


def an_endless_hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("make", [a_fifo, a_device, a_folder, nothing, an_endless_hole])
@pytest.mark.parametrize("name", [*TABLES, *TEXT_FILES, CHECKSUMS_FILE, "runs/*.zip"])
def test_what_is_no_file_is_neither_waited_for_nor_read(name: str, make: Callable[[Path], None], folder: Path) -> None:
    path = next(folder.glob(name))
    path.unlink()
    make(path)
    with pytest.raises(NotAResult) as error:
        read(folder)
    assert path.name in str(error.value)


def cut(text: str) -> str:
    return text[: text.index("workload")] + "workload: {threads: [{"


def tagged(text: str) -> str:
    return text.replace("seed: 1", "seed: !!python/object/apply:os.system [id]")


def of_another_axis(text: str) -> str:
    return text.replace("name: live", "name: mine")


def comparing_nothing(text: str) -> str:
    return text + "comparisons: [{axis: mine}]\n"


def of_a_file_elsewhere(text: str) -> str:
    return "extends: /etc/passwd\n" + text


@pytest.mark.parametrize("change", [cut, tagged, of_another_axis, comparing_nothing, of_a_file_elsewhere])
def test_a_changed_study_is_refused(change: Callable[[str], str], folder: Path) -> None:
    text = (folder / "study.yaml").read_text()
    assert change(text) != text
    (folder / "study.yaml").write_text(change(text))
    assert "study.yaml" in refused(folder)


def write(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)


def changed_runs(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write(pd.read_parquet(folder / "runs.parquet").assign(**changes), folder / "runs.parquet")

    return change


def swapped(a: str, b: str) -> Callable[[Path], None]:
    def swap(folder: Path) -> None:
        one = (folder / a).read_bytes()
        (folder / a).write_bytes((folder / b).read_bytes())
        (folder / b).write_bytes(one)

    return swap


def without(name: str, column: str) -> Callable[[Path], None]:
    def drop(folder: Path) -> None:
        write(pd.read_parquet(folder / name).drop(columns=column), folder / name)

    return drop


def changed_responses(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        write(change(pd.read_parquet(folder / "responses.parquet")), folder / "responses.parquet")

    return changed


of_other_runs = changed_responses(lambda table: table.assign(run=table["run"] + 100))


def a_text_that_is_spelt_out_a_thousand_times(folder: Path) -> None:
    """A file of a few kilobytes that would decode to 4 GB."""
    table = pq.read_table(folder / "series.parquet").slice(0, 1)
    rows = pa.concat_tables([table] * 1_000)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * 4_000_000]))
    place = rows.schema.get_field_index("series")
    pq.write_table(rows.set_column(place, "series", texts), folder / "series.parquet", compression="zstd")
    assert (folder / "series.parquet").stat().st_size < 20_000


CHANGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "tables swapped": (swapped("responses.parquet", "series.parquet"), "responses.parquet: must be a study's table"),
    "histograms for series": (swapped("histograms.parquet", "series.parquet"), "histograms.parquet: must be a study's"),
    "a column less": (without("responses.parquet", "unit"), "must have the columns run, point, replication, batch"),
    "a run less of a column": (without("runs.parquet", "stuck"), "runs.parquet: must be a study's table; must have"),
    "no axis": (without("runs.parquet", "live"), "runs.parquet: must be a study's table; must have the columns"),
    "numbers for text": (changed_runs(file=1), "must have file as text, found int64"),
    "text for numbers": (changed_runs(point="1"), "must have point as int"),
    "real runs": (changed_runs(run=[0.0, 1.0, 2.0, float("nan")]), "must have run as int, found double"),
    "one run thrice": (changed_runs(run=[0, 1, 1, 1]), "must have rows, one for each run"),
    "a huge order": (changed_runs(max_page_order=10**15), "must have max_page_order between -64 and 64"),
    "an endless run": (changed_runs(simulated_ns=float("inf")), "must have simulated_ns of at most 1e+30"),
    "a path that leaves": (changed_runs(file="../../x.zip"), "must name files such as runs/IDENTITY.zip, found '../.."),
    "an absolute path": (changed_runs(file="/etc/passwd"), "must name files such as runs/IDENTITY.zip"),
    "values of other runs": (of_other_runs, "responses.parquet: must be of the runs that runs.parquet has"),
    "no values": (changed_responses(lambda table: table.head(0)), "responses.parquet: must be of the runs that"),
    "every value twice": (
        changed_responses(lambda table: pd.concat([table, table])),
        "responses.parquet: must have one value of each run, response and batch",
    ),
    "values of another point": (
        changed_responses(lambda table: table.assign(point=table["point"] + 1)),
        "responses.parquet: must have the points and replications that runs.parquet has",
    ),
    "values of another response": (
        changed_responses(lambda table: table.assign(response="mine " + table["response"])),
        "responses.parquet: must be of the responses of study.yaml",
    ),
    "a point below 0": (changed_runs(point=-1), "runs.parquet: must have counts of 0 or more"),
    "fewer than no operations": (changed_runs(operations=-5), "runs.parquet: must have counts of 0 or more"),
    "a text of gigabytes": (a_text_that_is_spelt_out_a_thousand_times, "must have at most 256 MiB of text in series"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_tables_are_what_they_are_said_to_be(case: str, folder: Path) -> None:
    change, message = CHANGED[case]
    change(folder)
    said = refused(folder)
    assert message in said
    assert str(folder) in said


def test_a_table_is_bounded_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "DECODED_MAX", 1 << 10)
    monkeypatch.setattr(parquet_file, "EXPANSION_MAX", 0)
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", None)
    assert "it decodes to more" in refused(folder)


def test_only_the_row_groups_of_the_runs_that_are_asked_for_are_read(tmp_path: Path) -> None:
    rows = pd.DataFrame({"run": sorted([*range(10)] * 3), "value": 1.5})
    pq.write_table(pa.Table.from_pandas(rows), tmp_path / "t.parquet", row_group_size=3)
    found = parquet_file.read_table(tmp_path / "t.parquet", {"run": "int", "value": "real"}, [7, 2, 99])
    assert found["run"].tolist() == [2, 2, 2, 7, 7, 7]
    none = parquet_file.read_table(tmp_path / "t.parquet", {"run": "int", "value": "real"}, [])
    assert none.empty
    assert list(none.columns) == ["run", "value"]
