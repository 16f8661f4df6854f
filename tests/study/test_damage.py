"""One flipped bit in any file of a result is found by its readers; what can be computed again is, to the same bytes."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmsim.plots.figures import draw_all
from kmsim.plots.report import write_report
from kmsim.plots.report_figures import figures_of
from kmsim.plots.study_figures import draw_study
from kmsim.study.campaign import Shard
from kmsim.study.checksums import CHECKSUMS_FILE, seal_more
from kmsim.study.results import load_study
from kmsim.study.runner import run_study
from kmsim.study.store import NotAResult, load, write_timing
from kmsim.study.whole_study import merge
from tests.commands import Shell
from tests.studies import study
from tests.study.campaigns import contents, run, small_design

FLIPS = (3, pytest.param(60, marks=pytest.mark.slow))  # of each file
DESIGN = small_design(8, 16, comparisons=[{"axis": "live"}])
NOT_OF_THE_RESULT = {"lock"}  # it says who writes there
OWN_SUMS = ("timing.json", "report.html")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study and a plain run, with their figures and reports."""
    folder = tmp_path_factory.mktemp("pristine")
    run(DESIGN, folder / "study")
    drawn = draw_study(load_study(folder / "study"), folder / "study" / "figures")
    seal_more(folder / "study" / "figures", drawn)
    whole = study({"operations": 40}, run={"batch": "5us", "memory_map": 2})
    run_study(whole, folder / "run", draw=draw_all)
    write_timing(folder / "run", compile_s=0.0, total_s=1.5)
    for kind in ("study", "run"):
        write_report(load_study(folder / kind))
    return folder


@pytest.fixture
def results(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "results")
    return tmp_path / "results"


def read_study(folder: Path) -> None:
    """All that commands read of a study."""
    found = load_study(folder)
    figures_of(found)
    for number in found.runs["run"]:
        found.run(number)


def read_run(folder: Path) -> None:
    """All that commands read of a run."""
    load(folder)
    figures_of(load_study(folder))


READ: dict[str, Callable[[Path], None]] = {"study": read_study, "run": read_run}


def files_of(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in NOT_OF_THE_RESULT)


def flip(path: Path, draws: random.Random) -> bytes:
    """Flip a bit of a file; what it was before."""
    content = path.read_bytes()
    altered = bytearray(content)
    altered[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(altered)
    return content


@pytest.mark.slow
@pytest.mark.parametrize("nr_flips", FLIPS)
@pytest.mark.parametrize("kind", READ)
def test_a_flipped_bit_of_any_file_is_found_and_named(kind: str, nr_flips: int, results: Path) -> None:
    draws = random.Random(13)
    READ[kind](results / kind)
    paths = list(files_of(results / kind))
    assert len(paths) > 20
    for path in paths:
        for _ in range(nr_flips):
            content = flip(path, draws)
            with pytest.raises(NotAResult) as refused:
                READ[kind](results / kind)
            if path.name != CHECKSUMS_FILE:
                assert path.name in str(refused.value)
            path.write_bytes(content)
    READ[kind](results / kind)


@pytest.mark.slow
def test_what_is_damaged_of_a_study_is_computed_again_to_the_same_bytes(results: Path) -> None:
    draws = random.Random(1)
    before = contents(results / "study")
    for path in files_of(results / "study"):
        if path.parent.name != "figures":
            flip(path, draws)
    run(DESIGN, results / "study")
    after = contents(results / "study")
    of_runs = {name: content for name, content in before.items() if not name.startswith(NOT_MADE_HERE)}
    assert {name: after[name] for name in of_runs} == of_runs


# They are drawn by the command, as its way to finish a study.
NOT_MADE_HERE = ("figures/", "report.html")


@pytest.mark.parametrize("name", OWN_SUMS)
@pytest.mark.parametrize("kind", READ)
def test_a_file_with_its_own_checksum_need_not_be_there_but_is_whole_or_named(
    kind: str, name: str, results: Path
) -> None:
    path = results / kind / name
    for damaged in (b"", path.read_bytes()[:-1], path.read_bytes() + b"\n", b"{}\n"):
        path.write_bytes(damaged)
        with pytest.raises(NotAResult, match=name):
            load_study(results / kind)
    path.unlink()
    READ[kind](results / kind)
    os.mkfifo(path)
    with pytest.raises(NotAResult, match=f"{name}.*no regular file"):
        load_study(results / kind)


@pytest.mark.slow
def test_every_command_names_a_damaged_report_and_report_and_run_write_it_again(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kmsim = Shell(results, monkeypatch, capsys)
    assert kmsim("run", "study/study.yaml", "--out", "there", "--quiet").code == 0
    for name in OWN_SUMS:
        flip(results / "there" / name, random.Random(4))
    whole = {name: (results / "there" / name).read_bytes() for name in OWN_SUMS}
    for command in ("show there", "compare study there", "compare there study", "bundle there --out new", "plot there"):
        done = kmsim(*command.split())
        assert done.code == 2
        assert f"there/{OWN_SUMS[0]}: " in done.err
    assert {name: (results / "there" / name).read_bytes() for name in OWN_SUMS} == whole
    assert kmsim("run", "study/study.yaml", "--out", "there", "--quiet").code == 0
    assert kmsim("show", "there").code == 0
    before = (results / "there" / "report.html").read_bytes()
    flip(results / "there" / "report.html", random.Random(5))
    assert "there/report.html: " in kmsim("report", "there", "--out", "elsewhere.html").err
    assert kmsim("report", "there").code == 0
    assert (results / "there" / "report.html").read_bytes() == before


def test_damage_of_the_tables_needs_no_run_again(results: Path) -> None:
    before = contents(results / "study")
    for name in ("responses.parquet", "series.parquet", "design.json", CHECKSUMS_FILE):
        flip(results / "study" / name, random.Random(2))
    assert run(DESIGN, results / "study").counts.reused == 4
    assert contents(results / "study") == before


def test_what_a_study_has_is_kept_where_shards_are_not_all_there(results: Path) -> None:
    before = contents(results / "study")
    run(small_design(8, 16, 24, 32), results / "part", shard=Shard(1, 2))
    with pytest.raises(NotAResult, match="must be merged from all shards"):
        merge(results / "study", [results / "part"])
    after = contents(results / "study")
    assert {name: after[name] for name in before} == before


def test_a_damaged_shard_is_not_merged(tmp_path: Path) -> None:
    for number in (1, 2):
        run(DESIGN, tmp_path / str(number), shard=Shard(number, 2))
    for name in ("study.yaml", "provenance.json", CHECKSUMS_FILE):
        content = flip(tmp_path / "2" / name, random.Random(3))
        with pytest.raises(NotAResult, match="2/"):
            merge(tmp_path / "whole", [tmp_path / "1", tmp_path / "2"])
        (tmp_path / "2" / name).write_bytes(content)
    assert not (tmp_path / "whole").exists()
    merge(tmp_path / "whole", [tmp_path / "1", tmp_path / "2"])
