"""`kmsim plot` as a user has it."""

from pathlib import Path

import pytest

import kmsim
from kmsim.output import FOLDER
from tests.commands import Shell
from tests.studies import mapping
from tests.study.campaigns import run, small_design

FIGURES = [{"kind": "line", "name": "how_long", "y": "latency_mean"}, {"kind": "tail"}]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder with a study and a plain run."""
    shell = Shell(tmp_path, monkeypatch, capsys)
    run(small_design(8, 16, figures=FIGURES), tmp_path / "study")
    kmsim.run(mapping({"operations": 40}), tmp_path / "plain")
    return shell


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_study_s_figures_are_drawn_into_it(shell: Shell) -> None:
    done = shell("plot", "study")
    drawn = [f"{name}.{suffix}" for name in ("fragmentation", "how_long", "tail") for suffix in ("csv", "pdf", "png")]
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == [f"study/figures/{name}" for name in drawn]
    assert names(shell.folder / "study" / "figures") == ["checksums.json", *drawn]


@pytest.mark.slow
def test_only_what_is_asked_for_is_drawn_where_it_is_asked_for(shell: Shell) -> None:
    assert shell("plot", "study", "--figure", "tail", "--format", "pdf", "--out", "here/too").code == 0
    assert names(shell.folder / "here" / "too") == ["tail.csv", "tail.pdf"]
    assert not (shell.folder / "study" / "figures").exists()
    assert shell("plot", "plain", "--figure", "latency", "--figure", "lock_waiting", "--out", "plain").code == 0
    assert (shell.folder / "plain" / "latency.pdf").is_file()
    assert not (shell.folder / "plain" / "free_memory.pdf").exists()


def test_a_run_s_figures_are_drawn_again_with_the_same_bytes(shell: Shell) -> None:
    figures = shell.folder / "plain" / "figures"
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert shell("plot", "plain", "--format", "png").code == 0
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before


@pytest.mark.slow
def test_a_report_takes_no_place_among_a_result_s_files(shell: Shell) -> None:
    before = {path: path.read_bytes() for path in shell.folder.rglob("*") if path.is_file()}
    for name in ("operations.parquet", "notes.html", "proc/vmstat", "figures/latency.png"):
        said = f"plain/{name}: must be outside of a result's folder, or its report.html; plain is a result's\n"
        assert shell("report", "study", "--out", f"plain/{name}") == (2, "", said)
    assert {path: path.read_bytes() for path in shell.folder.rglob("*") if path.is_file()} == before
    assert shell("report", "plain", "--out", "plain/report.html").code == 0
    assert shell("plot", "plain", "--figure", "latency", "--out", "plain/figures").code == 0


def test_a_link_in_place_of_the_figures_is_not_followed(shell: Shell) -> None:
    (shell.folder / "mine").mkdir()
    figures = shell.folder / "plain" / "figures"
    figures.rename(shell.folder / "were")
    figures.symlink_to("../mine")
    why = "it is a link, which is not followed"
    assert shell("plot", "plain") == (2, "", f"plain/figures: must be {FOLDER}; {why}\n")
    assert names(shell.folder / "mine") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: must be a result folder of kmsim; provenance.json: No such file or directory"),
        (["study", "--figure", "head"], "--figure head: must be one of how_long, tail, fragmentation"),
        (["plain", "--figure", "tail"], "--figure tail: must be one of latency, free_memory, lock_waiting"),
        (["study", "--format", "png,svg"], "--format png,svg: must be png or pdf, or both with a comma between them"),
        (
            ["study", "--out", "study/runs"],
            "study/runs: must be outside of a result's folder, or its figures; study is a result's",
        ),
        (["study", "--out", "/"], f"/: must be {FOLDER}; it is the root of all folders"),
        (["study", "--out", "study/study.yaml"], f"study/study.yaml: must be {FOLDER}; Not a directory"),
    ],
)
def test_a_wrong_input_is_said_in_one_line(arguments: list[str], said: str, shell: Shell) -> None:
    assert shell("plot", *arguments) == (2, "", f"{said}\n")
