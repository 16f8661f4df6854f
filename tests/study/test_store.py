"""A result's folder: what is written is what is read; nothing is half there; nothing foreign is overwritten or read."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kmsim.config import dump
from kmsim.config import load as load_config
from kmsim.procfs import slabinfo, vmallocinfo
from kmsim.study import runner, store
from kmsim.study.checksums import CHECKSUMS_FILE, read_sums
from kmsim.study.runner import run_study
from kmsim.study.single_operations import SINGLE_OPERATIONS
from kmsim.study.store import (
    NotAResult,
    Result,
    check_replaceable,
    load,
    members_of,
    packed_members_of,
    result_folder,
    result_of,
    write_members,
)
from kmsim.study.tables import BATCH_TABLES, COLUMNS, ON_DEMAND
from tests.studies import study

PROC_FILES = {"buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "unusable_index", "extfrag_index"}
PAGES = {"operations": 60, "live": 10, "requests": [{"order": 0}, {"order": 4}]}
OTHERS = [{"cache": "skbuff_head_cache"}, {"api": "vmalloc", "bytes": "9KiB"}]
SLABS_AND_AREAS = {"operations": 60, "live": 10, "requests": OTHERS}
THREADS = (PAGES, SLABS_AND_AREAS)
WATCHED = {"sample_every": "5us", "warm_up": "2us", "batch": "20us", "memory_map": 3}


@cache
def finished(folder: Path) -> Result:
    """A result in a folder, simulated once."""
    return run_study(study(*THREADS, run=WATCHED), folder / "result")


@pytest.fixture
def result(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A result that the test may damage."""
    pristine = finished(tmp_path_factory.getbasetemp())
    assert pristine.path is not None
    shutil.copytree(pristine.path, tmp_path / "result")
    return replace(pristine, path=tmp_path / "result")


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_result_is_read_as_it_was_written(result: Result) -> None:
    assert result.path is not None
    check_same(load(result.path), result)


def check_same(read: Result, written: Result) -> None:
    assert tuple(read.tables) == tuple(written.tables)
    for name, table in written.tables.items():
        assert_frame_equal(read.tables[name], table)
    assert len(read.batches) == len(written.batches) > 1
    for one, other in zip(read.batches, written.batches, strict=True):
        assert tuple(one) == tuple(other) == BATCH_TABLES
        for name, table in other.items():
            assert_frame_equal(one[name], table)
    assert read.warm_up_ns == written.warm_up_ns == 2000
    assert read.remarks == written.remarks != ()
    assert (read.config_yaml, read.provenance) == (written.config_yaml, written.provenance)
    assert (read.path, read.stuck) == (written.path, written.stuck)


def test_a_result_is_its_members_and_they_are_the_folders_files(result: Result) -> None:
    assert result.path is not None
    proc = {path.name: path.read_text() for path in (result.path / "proc").iterdir()}
    members = members_of(result, proc)
    files = [path for path in result.path.rglob("*") if path.is_file() and path.name != CHECKSUMS_FILE]
    assert read_sums((result.path / CHECKSUMS_FILE).read_bytes()).keys() == members.keys()
    assert members == {str(path.relative_to(result.path)): path.read_bytes() for path in files}
    assert {"config.yaml", "end.json", "operations.parquet", "batches/001/locks.parquet"} < set(members)


def test_a_result_is_what_its_archive_holds_and_empty_tables_are_left_out(result: Result) -> None:
    members = packed_members_of(result, {"vmstat": "nr_free_pages 1\n"})
    assert {"config.yaml", "end.json", "proc/vmstat", "operations.npy", "batches/001/locks.npy"} < set(members)
    check_same(result_of(members), replace(result, path=None))
    none = replace(result, tables={**result.tables, "slabs": result.tables["slabs"].head(0)})
    assert packed_members_of(none, {}).keys() == packed_members_of(result, {}).keys() - {"slabs.npy"}


def test_single_operations_are_in_a_result_where_the_run_keeps_them(result: Result, tmp_path: Path) -> None:
    assert SINGLE_OPERATIONS not in result.tables
    assert len(result.single_operations) == 0
    assert list(result.single_operations) == list(COLUMNS[SINGLE_OPERATIONS])
    rows = [(7, 10.5, 0.001, 1, "a/cpu1", "alloc", "pages", "GFP_KERNEL", 3, "", 32768, block, 1) for block in (-1, 9)]
    singles = pd.DataFrame(rows, columns=list(COLUMNS[SINGLE_OPERATIONS]))
    kept = replace(result, tables={**result.tables, SINGLE_OPERATIONS: singles}, path=None)
    check_same(result_of(packed_members_of(kept, {})), kept)
    with result_folder(tmp_path / "kept") as folder:
        write_members(folder, members_of(kept, {}))
    read = load(tmp_path / "kept")
    check_same(read, replace(kept, path=tmp_path / "kept"))
    assert_frame_equal(read.single_operations, singles)
    damaged = tmp_path / "kept" / f"{SINGLE_OPERATIONS}.parquet"
    damaged.unlink()
    with pytest.raises(NotAResult, match=SINGLE_OPERATIONS):
        load(tmp_path / "kept")


def test_a_member_that_is_missing_is_named(result: Result) -> None:
    members = packed_members_of(result, {})
    for name in (name for name in members if not name.endswith(".npy")):
        with pytest.raises(NotAResult, match=rf"must be a result of kmsim; {name}: must be there"):
            result_of({other: content for other, content in members.items() if other != name})


def test_the_tables_are_attributes_and_others_are_not(result: Result) -> None:
    assert result.operations is result.tables["operations"]
    assert not hasattr(result, "nosuch")


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in ON_DEMAND])
def test_a_table_has_the_columns_it_is_known_for(result: Result, name: str) -> None:
    table = result.tables[name]
    assert table.dtypes.equals(table.astype(COLUMNS[name]).dtypes)
    assert len(result.tables[name]) > 0


def test_the_resolved_config_runs_to_the_same_result(result: Result) -> None:
    assert result.path is not None
    again = load_config(result.path / "config.yaml")
    assert dump(again) == result.config_yaml
    for name, table in run_study(again).tables.items():
        assert_frame_equal(table, result.tables[name])


def test_the_provenance_is_enough_to_rebuild_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kmsim", "run", "small.yaml", "--seed", "9"])
    run_study(study(seed=9), tmp_path / "result")
    facts = json.loads((tmp_path / "result" / "provenance.json").read_text())
    assert facts["command"] == ["run", "small.yaml", "--seed", "9"]
    assert (facts["name"], facts["seed"], facts["page_size_bytes"]) == ("small", 9, 4096)
    assert facts["schema_version"] == store.SCHEMA_VERSION
    assert {"kmsim", "numpy", "numba"} < set(facts["versions"])
    assert set(facts["host"]) == {"system", "machine"}


def test_the_proc_files_are_those_of_the_machine_at_the_end(tmp_path: Path) -> None:
    result = run_study(study(*THREADS), tmp_path / "result")
    assert result.path is not None
    names = {path.name for path in (result.path / "proc").iterdir()}
    assert names == PROC_FILES | {"slabinfo", "slab_attributes", "vmallocinfo"}
    line = (result.path / "proc" / "buddyinfo").read_text().splitlines()[0]
    samples = result.samples
    last = samples[(samples["time_ns"] == samples["time_ns"].max()) & (samples["zone"] == "DMA")]
    assert line.split()[3:] == ["DMA", *map(str, last["nr_free"])]
    printed = dict(line.split() for line in (result.path / "proc" / "vmstat").read_text().splitlines())
    ours = result.vmstat.set_index("name")["value"]
    kernels = [name for name in ours.index if ":" not in name]
    assert {"nr_free_pages", "pgalloc_dma32", "pgfree"} < set(kernels)
    assert {name: str(ours[name]) for name in kernels} == {name: printed[name] for name in kernels}
    blocks = (result.path / "proc" / "pagetypeinfo").read_text().splitlines()[-2:]
    end = result.memory[result.memory["time_ns"] == result.memory["time_ns"].max()]
    types = ["unmovable", "movable", "reclaimable", "highatomic"]
    counted = end[[f"pageblocks_{name}" for name in types]].to_numpy().tolist()
    assert [[int(word) for word in line.split()[4:8]] for line in blocks] == counted


def test_slabs_and_areas_have_their_proc_files(result: Result) -> None:
    assert result.path is not None
    lines = {line.name: line for line in slabinfo.parse((result.path / "proc" / "slabinfo").read_text())}
    slab = result.slabs.set_index("cache").loc["skbuff_head_cache"]
    line = lines["skbuff_head_cache"]
    assert (line.num_objs, line.num_slabs) == (slab["total_objects"], slab["nr_slabs"])
    assert line.num_objs >= slab["live_objects"] > 0
    areas = vmallocinfo.parse((result.path / "proc" / "vmallocinfo").read_text())
    vmstat = result.vmstat.set_index("name")["value"]
    live = [area for area in areas if area.nr_pages]
    assert len(live) == vmstat["kmsim:vmalloc"] - vmstat["kmsim:vfree"] > 0
    assert {(area.nr_bytes, area.nr_pages) for area in live} == {(16384, 3)}


def test_every_cache_has_its_attributes_as_lines_of_one_file(result: Result) -> None:
    assert result.path is not None
    content = (result.path / "proc" / "slab_attributes").read_text()
    found = dict(line.split(" ", 1) for line in content.splitlines())
    assert len(found) == len(content.splitlines())
    lines = slabinfo.parse((result.path / "proc" / "slabinfo").read_text())
    for line in lines:
        of = {file: found[f"{line.name}/{file}"] for file in ("objects", "total_objects", "slabs", "slab_size")}
        shown = (line.active_objs, line.num_objs, line.num_slabs, line.objsize)
        assert tuple(of.values()) == tuple(map(str, shown)), line.name
    slab = result.slabs.set_index("cache").loc["skbuff_head_cache"]
    of = {file.split("/")[1]: text for file, text in found.items() if file.startswith("skbuff_head_cache/")}
    assert (of["partial"], of["order"]) == (str(slab["nr_partial"]), str(slab["order"]))
    nr_cpu_partial = int(of["slabs_cpu_partial"].split()[0].split("(")[1][:-1])
    assert 0 < slab["nr_slabs"] == int(of["cpu_slabs"]) + int(of["partial"])  # so few objects: no slab is full
    assert nr_cpu_partial <= int(of["cpu_slabs"])
    assert found["kmalloc-8/slabs_cpu_partial"] == "0(0)"
    assert found["kmem_cache/cpu_slabs"] == "0"


def test_a_run_of_pages_alone_has_no_files_of_slabs(tmp_path: Path) -> None:
    run_study(study(PAGES), tmp_path / "result")
    assert {path.name for path in (tmp_path / "result" / "proc").iterdir()} == PROC_FILES


STEPS = ("write_inputs", "run_point", "proc_files", "write_members")
ERRORS = (RuntimeError("in the middle"), KeyboardInterrupt(), AssertionError("in the middle"))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_nothing_is_left_where_a_run_stops_half_way(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = getattr(runner, step)

    def stop(*arguments: object) -> None:
        done(*arguments)
        raise error

    monkeypatch.setattr(runner, step, stop)
    with pytest.raises(type(error)):
        run_study(study(), tmp_path / "deep" / "er" / "result")
    assert contents(tmp_path) == []


def test_an_earlier_result_survives_a_run_that_fails(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    assert result.path is not None
    before = contents(result.path.parent)
    monkeypatch.delattr(store.buddyinfo, "show")
    with pytest.raises(AttributeError):
        run_study(study(), result.path)
    assert contents(result.path.parent) == before
    assert_frame_equal(load(result.path).operations, result.operations)


def test_an_earlier_result_survives_a_stop_while_it_is_replaced(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result.path is not None
    rename = Path.rename

    def stop(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(seed=2), result.path)
    assert [path.name for path in result.path.parent.iterdir()] == ["result"]
    assert load(result.path).provenance["seed"] == 1


def test_an_earlier_result_is_replaced_as_a_whole(result: Result) -> None:
    assert result.path is not None
    for name in ("timing.json", "report.html", "figures/latency.png", "figures/latency.csv", "figures/checksums.json"):
        (result.path / name).parent.mkdir(exist_ok=True)
        (result.path / name).write_text("of the earlier run")
    run_study(study(seed=2), result.path)
    assert load(result.path).provenance["seed"] == 2
    assert not (result.path / "figures").exists()
    assert [path.name for path in result.path.parent.iterdir()] == ["result"]


@pytest.mark.parametrize("name", ["notes.txt", "proc/mine", "figures/mine.png", "batches/000/notes.parquet", "new/x"])
def test_what_a_user_has_put_beside_a_result_is_never_lost(name: str, result: Result) -> None:
    assert result.path is not None
    (result.path / name).parent.mkdir(exist_ok=True)
    (result.path / name).write_text("mine")
    before = contents(result.path.parent)
    with pytest.raises(NotAResult, match=f"{name} is not of kmsim and would be lost"):
        run_study(study(seed=2), result.path)
    assert contents(result.path.parent) == before
    assert load(result.path).provenance["seed"] == 1


def test_what_a_user_puts_there_while_a_run_lasts_is_not_lost_either(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result.path is not None
    place = result.path
    members = runner.write_members

    def write_too(folder: Path, content: dict[str, bytes]) -> None:
        members(folder, content)
        (place / "notes.txt").write_text("mine")

    monkeypatch.setattr(runner, "write_members", write_too)
    with pytest.raises(NotAResult, match=r"notes\.txt is not of kmsim"):
        run_study(study(seed=2), place)
    assert (place / "notes.txt").read_text() == "mine"


def test_the_folder_that_one_is_in_is_not_taken_away(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    assert result.path is not None
    monkeypatch.chdir(result.path / "proc")
    with pytest.raises(NotAResult, match="must not be the current folder or above it"):
        run_study(study(seed=2), Path(".."))
    assert load(result.path).provenance["seed"] == 1


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder_of_mine(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


NOT_OURS: dict[Callable[[Path], None], str] = {
    a_file: "out: must be a folder that can be written; Not a directory",
    a_folder_of_mine: "out: must be a new folder or an earlier result; it holds something else",
}


@pytest.mark.parametrize("make", NOT_OURS)
def test_what_is_no_result_is_not_overwritten(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(NotAResult, match=NOT_OURS[make]):
        run_study(study(), tmp_path / "out")
    assert contents(tmp_path) == before


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run_study(study(), tmp_path / "out")
    assert load(tmp_path / "out").provenance["name"] == "small"


def test_a_link_to_a_result_stays_a_link(result: Result, tmp_path: Path) -> None:
    assert result.path is not None
    link = tmp_path / "latest"
    link.symlink_to(result.path)
    run_study(study(seed=3), link)
    assert link.is_symlink()
    assert load(result.path).provenance["seed"] == 3


def test_a_folder_below_the_root_is_as_good_as_any() -> None:
    with suppress(NotAResult):  # of who may not write there
        check_replaceable(Path("/no-such-folder-of-kmsim"))
    assert not Path("/no-such-folder-of-kmsim").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAResult, match=r"file/out: must be a folder that can be written; Not a directory"):
        run_study(study(), tmp_path / "file" / "out")
    assert contents(tmp_path) == ["file"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with result_folder(tmp_path / "new" / "out") as folder:
            (folder / "operations.parquet").write_text("half")
            raise OSError(28, os.strerror(28))

    with pytest.raises(NotAResult, match="No space left"):
        fill_the_disk()
    assert contents(tmp_path) == []
