"""`kmsim bundle`: a result as what a paper needs, and the same numbers again from it."""

import importlib.metadata
import shutil
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmsim.config.design import Dropped
from kmsim.plots.latex_tables import latex, latex_table
from kmsim.session.bundle import DATA, differing
from kmsim.study.bundle_text import _of_axes, citation
from kmsim.study.environment import pins, wheel
from kmsim.study.results import load_study
from tests.commands import Shell, in_own_process
from tests.plots.studies import comparison, made_up_study, order_axis, page_size_axis

STUDY = """\
question: Do more CPUs make single pages dearer?
machine: {arch: x86-64, memory: 64MiB, cpus: 2STATE}
workload: {threads: [{name: a, live: 8, operations: 300, requests: [{order: 0}]}]}
sweep: {axes: [{key: machine.cpus, values: [1, 2]}]}
replications: 3
responses: [latency_mean, latency_p99, failed_share]
comparisons: [{axis: machine.cpus}]
"""
STATE = ", state: {buddyinfo: free.txt}"
BUDDYINFO = "".join(f"Node 0, zone {zone:>8} {'0 ' * 10}{count}\n" for zone, count in (("DMA", 2), ("DMA32", 8)))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "free.txt").write_text(BUDDYINFO)
    (folder / "study.yaml").write_text(STUDY.replace("STATE", STATE))
    done = in_own_process("run", "study.yaml", "--out", "result", folder=folder)
    assert done.code == 0, done.err
    return folder / "result"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_a_bundle_holds_what_a_paper_needs(result: Path, shell: Shell) -> None:
    done = shell("bundle", str(result), "--out", "paper")
    assert (done.code, done.out) == (0, "wrote paper\n")
    bundle, study = shell.folder / "paper", load_study(result)
    for name in DATA:
        stored = pd.read_csv(bundle / "data" / f"{name}.csv")
        assert len(stored) == len(getattr(study, name))
    values = pd.read_csv(bundle / "data" / "responses.csv", dtype=str)["value"].map(float)
    assert values.tolist() == study.responses["value"].tolist(), "to the last digit"
    assert pd.read_csv(bundle / "seeds.csv")["seed"].tolist() == study.runs["seed"].tolist()
    figures = sorted((bundle / "figures").glob("*.pdf"))
    assert figures
    assert all(path.with_suffix(".csv").exists() for path in figures)
    methods = (bundle / "METHODS.md").read_text()
    for words in ("1 CPU,", "64MiB", "xeon-gold-5320", "3 times with common random numbers", "Holm", "never measured"):
        assert words in methods
    readme = (bundle / "README.md").read_text()
    assert f"`kmsim bundle {result} --out paper`" in readme
    assert "minutes" in readme
    assert "model's error" in (bundle / "tables" / "estimates.tex").read_text()
    assert f"numpy=={importlib.metadata.version('numpy')}" in (bundle / "environment.txt").read_text().splitlines()


@pytest.mark.slow
def test_files_that_the_config_names_are_in_it(result: Path, shell: Shell) -> None:
    shell("bundle", str(result), "--out", "paper")
    assert (shell.folder / "paper" / "inputs" / "0.txt").read_text() == BUDDYINFO
    done = shell("check", "paper/study.yaml")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_the_same_result_gives_the_same_bytes(result: Path, shell: Shell) -> None:
    for name in ("one", "two"):
        assert shell("bundle", str(result), "--out", name).code == 0
    one, two = (sorted(path for path in (shell.folder / name).rglob("*") if path.is_file()) for name in ("one", "two"))
    for first, second in zip(one, two, strict=True):
        if first.name not in ("README.md", "checksums.json"):  # the command differs
            assert first.read_bytes() == second.read_bytes(), first


@pytest.mark.slow
def test_numbers_that_differ_are_named(result: Path, shell: Shell) -> None:
    shell("bundle", str(result), "--out", "paper")
    data, changed = shell.folder / "paper" / "data", shell.folder / "changed"
    shutil.copytree(data, changed)
    table = pd.read_csv(changed / "responses.csv", dtype=str, keep_default_na=False)
    table.loc[1, "value"] = "17.5"
    table.to_csv(changed / "responses.csv", index=False, lineterminator="\n")
    assert [line for name in DATA if name != "responses" for line in differing(data, changed, name)] == []
    (line,) = differing(data, changed, "responses")
    assert line.startswith("responses: run 0, point 0, response latency_p99: value is 17.5, in the bundle ")
    table.iloc[1:].to_csv(changed / "responses.csv", index=False, lineterminator="\n")
    (line,) = differing(data, changed, "responses")
    assert "17 rows" in line


def test_kmsim_is_in_it_as_it_runs_here() -> None:
    with zipfile.ZipFile(BytesIO(wheel())) as packed:
        names = packed.namelist()
    assert {"kmsim/cli.py", "kmsim/py.typed", "kmsim/configs/costs/xeon-gold-5320.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_environment_is_what_kmsim_needs_and_no_more() -> None:
    names = [pin.partition("==")[0] for pin in pins()]
    assert {"numpy", "pandas", "pyarrow", "ruamel-yaml", "python-dateutil"} <= set(names), "theirs, too"
    assert not {"pytest", "ruff", "mypy", "kmsim"} & set(names)


def test_the_methods_say_why_combinations_were_not_run() -> None:
    told = ["not among sweep.only"] * 3 + ["64KiB << 13 is more than a section of memory"] + ["r1", "r2", "r3"]
    dropped = tuple(Dropped(number, {}, reason) for number, reason in enumerate(told))
    sentence = _of_axes(replace(made_up_study(page_size_axis()), dropped=dropped))
    why = "3: not among sweep.only; 1: 64KiB << 13 is more than a section of memory; 1: r1; 1: r2; 1 for other reasons"
    assert sentence.endswith(f", in 3 points; 7 combinations of levels not run ({why}).")
    assert "cannot be built" not in sentence
    assert _of_axes(made_up_study(page_size_axis())).endswith(", in 3 points.")


def test_text_in_latex() -> None:
    assert latex(r"50 % ±3_a\b") == r"50 \% $\pm$3\_a\textbackslash{}b"


def test_tables_in_latex_are_in_words_and_hide_nothing() -> None:
    axes = [axis._replace(name=f"machine.{axis.name}") for axis in (page_size_axis(), order_axis(9))]
    study = made_up_study(*axes, comparisons=[comparison(axes[0])])
    of_mean = study.responses["response"] == "latency_mean"
    beside = {"failed_share": np.where(of_mean, 12.5, np.nan), "model_error": np.where(of_mean, 40.0, 0.0)}
    study = replace(study, responses=study.responses.assign(**beside))
    estimates, comparisons = (latex_table(study, name) for name in ("estimates", "comparisons"))
    heads = [text.splitlines()[3] for text in (estimates, comparisons)]
    assert heads == [
        r"page size & response & mean & 95 \% interval & model's error & failed (\%) \\",
        r"level & baseline & response & difference & 95 \% interval & model's error & differs & failed (\%) \\",
    ]
    assert r"4KiB & Mean latency (ns) & " in estimates
    assert r" & $\pm$40 \% & 12.5 \\" in estimates
    assert r"16KiB & 4KiB & Mean latency (ns) & " in comparisons
    assert r" & within the model's error & 12.5 to 12.5 \\" in comparisons
    assert r" & free of prices & yes &  \\" in comparisons
    for text in (estimates, comparisons):
        assert "latency\\_mean" not in text
        assert "machine." not in text
        assert text.splitlines()[1].count("r", len(r"\begin{longtable}")) == 4 + (text is comparisons)


def test_how_to_cite_is_one_text() -> None:
    assert citation("0.1.0") == (Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8")
    assert "\nversion: 7.8\n" in citation("7.8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "nothing: must be"),
        (("result", "--out", "there"), "there: must be a folder that is not there yet; it is there already"),
        (("result", "--out", ""), "an empty name: must be a folder that can be written"),
        (("result", "--out", "result/mine"), "result/mine: must be outside of a result's folder; result is a result's"),
        (("--check", "there"), "there: must be a bundle, as `kmsim bundle` writes them"),
        (("--check", "damaged"), "damaged/seeds.csv: must be as it was written; it is damaged (its checksum differs)"),
        (("--check", "cut"), "cut/environment.txt: must be as it was written"),
    ],
    ids=["no result", "there already", "no name", "in a result", "no bundle", "damaged", "cut"],
)
def test_wrong_inputs(result: Path, shell: Shell, words: tuple[str, ...], message: str) -> None:
    (shell.folder / "there").mkdir()
    shutil.copytree(result, shell.folder / "result")
    for name in ("damaged", "cut"):
        assert shell("bundle", "result", "--out", name).code == 0
    (shell.folder / "damaged" / "seeds.csv").write_text("run,point\n")
    (shell.folder / "cut" / "environment.txt").unlink()
    done = shell("bundle", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


@pytest.mark.slow
def test_a_file_that_has_changed_since_is_refused(result: Path, shell: Shell) -> None:
    state = result.parent / "free.txt"
    state.write_text(BUDDYINFO.replace(" 8", " 7"))
    try:
        done = shell("bundle", str(result), "--out", "paper")
    finally:
        state.write_text(BUDDYINFO)
    assert done.code == 2
    assert "must be the file that the study was made with; it has changed since" in done.err
    assert not (shell.folder / "paper").exists()


@pytest.mark.slow
def test_the_quickstart_is_simulated_again_in_an_empty_environment(shell: Shell) -> None:
    small = Path(__file__).parents[2] / "experiments" / "page_size_and_max_order" / "small.yaml"
    assert shell("run", str(small), "--out", "result").code == 0
    assert shell("bundle", "result", "--out", "paper").code == 0
    done = shell("bundle", "--check", "paper")
    assert done.out.splitlines()[-1] == "every number is the same"
    assert done.code == 0
