"""A run's folder that is damaged, or that somebody has changed, checksums and all, is refused with one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kmsim.study.checksums import CHECKSUMS_FILE, read_sums, seal
from kmsim.study.runner import run_study
from kmsim.study.store import SCHEMA_VERSION, NotAResult, Result, load
from tests.studies import study


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_study(study(run={"batch": "5us"}), tmp_path_factory.mktemp("pristine") / "result")


@pytest.fixture
def result(pristine: Result, tmp_path: Path) -> Result:
    """A result that the test may damage."""
    assert pristine.path is not None
    shutil.copytree(pristine.path, tmp_path / "result")
    return replace(pristine, path=tmp_path / "result")


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def remove_provenance(folder: Path) -> None:
    (folder / "provenance.json").unlink()


def cut_provenance(folder: Path) -> None:
    (folder / "provenance.json").write_text(f'{{"schema_version": {SCHEMA_VERSION}, ')


def binary_provenance(folder: Path) -> None:
    (folder / "provenance.json").write_bytes(b"\xff\xfe\x00")


def a_list(folder: Path) -> None:
    (folder / "provenance.json").write_text("[1]")


def deep(folder: Path) -> None:
    (folder / "provenance.json").write_text("[" * 100_000)


def of_another_program(folder: Path) -> None:
    (folder / "provenance.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}))


def of_an_earlier_version(folder: Path) -> None:
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(facts | {"schema_version": 1}))


def remove_a_table(folder: Path) -> None:
    (folder / "locks.parquet").unlink()


def cut_a_table(folder: Path) -> None:
    table = folder / "locks.parquet"
    table.write_bytes(table.read_bytes()[:-20])


def an_empty_table(folder: Path) -> None:
    (folder / "samples.parquet").write_bytes(b"")


def text_for_a_table(folder: Path) -> None:
    (folder / "cpus.parquet").write_text("cpu,lock_wait_ns\n0,1\n")


def a_table_of_others(folder: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(folder / "histograms.parquet")


def histograms_of_another_run(folder: Path) -> None:
    table = pd.read_parquet(folder / "histograms.parquet")
    table.assign(order=table["order"] + 1).to_parquet(folder / "histograms.parquet", index=False)


def a_folder_for_the_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").mkdir()


def an_end_of(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        end = json.loads((folder / "end.json").read_text())
        (folder / "end.json").write_text(json.dumps(end | changes))

    return damage


def remove_a_batch(folder: Path) -> None:
    (folder / "batches" / "000" / "cpus.parquet").unlink()


DAMAGES: dict[Callable[[Path], None], str] = {
    cut_provenance: "provenance.json: Expecting property name",
    binary_provenance: "provenance.json: ",
    a_list: f"provenance.json: must have schema_version {SCHEMA_VERSION}, found None",
    deep: "provenance.json: must not be nested so deeply",
    of_another_program: "provenance.json: must have name",
    of_an_earlier_version: f"provenance.json: must have schema_version {SCHEMA_VERSION}, found 1",
    cut_a_table: "locks.parquet: ",
    an_empty_table: "samples.parquet: ",
    text_for_a_table: "cpus.parquet: ",
    a_table_of_others: "histograms.parquet: must have the columns kind, api, gfp, order, cache, cpu, low_ns, high_ns",
    histograms_of_another_run: "histograms.parquet: must count the operations that the table operations counts",
    an_end_of(batches=True): "end.json: must have batches as it was written, found True",
    an_end_of(batches=-1): "end.json: must have batches as it was written, found -1",
    an_end_of(batches=10**9): "end.json: must have batches as it was written, found 1000000000",
    an_end_of(stuck=None): "end.json: must have stuck as it was written, found None",
    an_end_of(warm_up_ns="1us"): "end.json: must have warm_up_ns as it was written, found '1us'",
    an_end_of(warm_up_ns=float("nan")): "end.json: must hold numbers, found NaN",
    an_end_of(remarks=[1]): "end.json: must have remarks.0 as it was written, found 1",
    an_end_of(mine=1): "end.json: must not have 'mine'",
}
GONE: dict[Callable[[Path], None], str] = {
    remove: "provenance.json: No such file or directory",
    remove_provenance: "provenance.json: No such file or directory",
    remove_a_table: "locks.parquet: No such file or directory",
    remove_a_batch: "batches/000/cpus.parquet: No such file or directory",
    a_folder_for_the_config: "config.yaml: Is a directory",
}


@pytest.mark.parametrize("damage", [*DAMAGES, *GONE], ids=lambda damage: damage.__name__)
def test_a_damaged_or_foreign_folder_is_refused_with_one_line(damage: Callable[[Path], None], result: Result) -> None:
    assert result.path is not None
    damage(result.path)
    if damage in DAMAGES:  # by its checksum; and whoever changes that, too, is found out by what the file says
        check_refused(result.path, DAMAGES[damage].split(":", maxsplit=1)[0])
        seal(result.path, list(read_sums((result.path / CHECKSUMS_FILE).read_bytes())))
    check_refused(result.path, {**DAMAGES, **GONE}[damage])


def check_refused(folder: Path, message: str) -> None:
    with pytest.raises(NotAResult) as refused:
        load(folder)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{folder}: must be a result folder of kmsim; {message}")


def test_an_unlisted_file_is_not_read(result: Result) -> None:
    assert result.path is not None
    names = set(read_sums((result.path / CHECKSUMS_FILE).read_bytes()))
    seal(result.path, names - {"locks.parquet"})
    check_refused(result.path, "locks.parquet: it is not named in checksums.json")
