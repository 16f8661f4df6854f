"""`kmsim compare` as a user has it: what it prints and writes, how it exits, what it refuses."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kmsim
from kmsim.session.compare import bounds_of, verdict
from kmsim.session.compare_rows import show_rows
from kmsim.session.console import TextConsole
from kmsim.study import executors
from kmsim.study.cautions import ONE_SEED
from kmsim.study.compare import Bounds, compare
from kmsim.study.store import NotAResult
from tests.commands import Shell
from tests.plots.studies import order_axis, page_size_axis, workload_axis
from tests.studies import mapping
from tests.study.campaigns import LIVE, run, small_design, stuck_with_16
from tests.study.test_compare import made_up, scaled

THREAD = {"operations": 40, "requests": [{"order": 0}, {"order": 4}]}
DEAR = {"extends": "xeon-gold-5320", "alloc_fast": {"value": "600ns", "source": "for a test"}}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder with a study, the same with dearer allocations, and a plain run of each."""
    shell = Shell(tmp_path, monkeypatch, capsys)
    run(small_design(8, 16, replications=3), tmp_path / "study")
    run(small_design(8, 16, replications=3, costs=DEAR), tmp_path / "dear")
    kmsim.run(mapping({**THREAD, "live": 8}), tmp_path / "plain")
    return shell


def test_what_is_worse_decides_the_exit_code(shell: Shell) -> None:
    same = shell("compare", "study", "study", "--worse-by", "0")
    assert (same.code, same.err) == (0, "")
    assert "config, sweep, replications and versions are equal" in same.out
    assert "0 of 6 rows are worse" in same.out
    dear = shell("compare", "study", "dear", "--worse-by", "5%")
    assert (dear.code, dear.err) == (1, "")
    assert "costs.alloc_fast.value" in dear.out
    assert "600ns" in dear.out
    assert "runs are paired by replication and equal seed" in dear.out
    assert "live 16: mean latency worse by" in " ".join(dear.out.split())
    assert shell("compare", "study", "dear").code == 0
    assert shell("compare", "dear", "study", "--worse-by", "latency_mean=5%").code == 0
    assert shell("compare", "study", "dear", "--worse-by", "9.99", "--worse-by", "lock_wait_share=50").code == 0


@pytest.mark.parametrize("sides", ["ab", "b", "a"])
def test_where_nothing_can_be_judged_it_is_not_fine(
    sides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr("kmsim.session.compare.stdout", TextConsole(force_terminal=True, width=200, highlight=False))
    for side in "ab":
        with monkeypatch.context() as patched:
            if side in sides:
                patched.setattr(executors, "function_named", lambda _: stuck_with_16)
            run(small_design(16), tmp_path / side)
    assert shell("compare", "a", "b").code == 0, "nobody has asked"
    done = shell("compare", "a", "b", "--worse-by", "5%")
    assert done.code == 1
    for side in sides:
        said = f"left out: runs of {side.upper()} in which the simulated machine could not go on: 2"
        assert f"\x1b[1;31m{said}" in done.out
    why = "rows have values in A and none in B" if sides == "b" else "nothing could be judged"
    assert why in done.out
    facts = json.loads(shell("compare", "a", "b", "--worse-by", "5%", "--json").out)
    assert (facts["lost"] > 0) == (sides == "b")


def test_json_says_the_same(shell: Shell) -> None:
    done = shell("compare", "study", "dear", "--json", "--worse-by", "latency_mean=0.05")
    assert (done.code, done.err) == (1, "")
    said = json.loads(done.out)
    assert said["paired"] is True
    assert said["axes"] == ["live"]
    assert "costs.alloc_fast.value" in {one["key"] for one in said["differing"]}
    assert said["worse"] == 2
    assert [row["worse"] for row in said["rows"]] == [row["response"] == "latency_mean" for row in said["rows"]]
    assert (said["a"]["runs"], said["b"]["path"]) == (6, "dear")


@pytest.mark.slow
def test_the_figure_and_the_rows_are_written_where_asked(shell: Shell) -> None:
    before = shell.files()
    assert shell("compare", "plain", "study", "--worse-by", "0").code == 2
    assert shell("compare", "study", "dear").code == 0
    assert shell.files() == before
    assert shell("compare", "study", "dear", "--out", "found/here").code == 0
    names = ["comparison.csv", "comparison.pdf", "comparison.png", "rows.csv"]
    assert sorted(path.name for path in (shell.folder / "found" / "here").iterdir()) == names
    rows = pd.read_csv(shell.folder / "found" / "here" / "rows.csv")
    assert len(rows) == 6
    assert set(rows["live"]) == {8, 16}
    bytes_before = (shell.folder / "found" / "here" / "comparison.png").read_bytes()
    assert shell("compare", "study", "dear", "--out", "found/here").code == 0
    assert (shell.folder / "found" / "here" / "comparison.png").read_bytes() == bytes_before


@pytest.mark.slow
def test_where_no_figure_is_drawn_the_rows_are_written(shell: Shell) -> None:
    assert shell("compare", "plain", "plain", "--out", "new/folder").code == 0
    assert "rows.csv" in [path.name for path in (shell.folder / "new" / "folder").iterdir()]


@pytest.mark.slow
def test_of_one_run_it_is_said_that_there_is_no_interval(shell: Shell) -> None:
    kmsim.run(mapping({**THREAD, "live": 8}, costs=DEAR), shell.folder / "plain-dear")
    done = shell("compare", "plain", "plain-dear", "--worse-by", "5%")
    assert done.code == 1
    assert "n = 1, no interval" in done.out
    assert ONE_SEED in done.out
    assert ONE_SEED not in shell("compare", "study", "dear").out
    assert "of n = 1 the worsening itself" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "nowhere"], "nowhere: must be a result folder of kmsim; provenance.json: No such file or directory"),
        (["nowhere", "study"], "nowhere: must be a result folder"),
        (["study", "dear", "--worse-by", "much"], "--worse-by much: must be a share of 0 or more"),
        (["study", "dear", "--worse-by", "-5%"], "--worse-by -5%: must be a share of 0 or more"),
        (["study", "dear", "--worse-by", "latency_mean="], "--worse-by latency_mean=: must be a share"),
        (["study", "dear", "--worse-by", "latency=5%"], "--worse-by latency: must name a response that both have"),
        (["plain", "study"], "it alone has 'live', with 2 levels"),
        (["study", "dear", "--out", "/"], "/: must be a folder that can be written; it is the root of all folders"),
        (["study", "dear", "--out", "study/study.yaml"], "study/study.yaml: must be a folder that can be written"),
    ],
)
def test_a_wrong_input_is_said_in_one_line(arguments: list[str], said: str, shell: Shell) -> None:
    done = shell("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_dotted_axes_are_called_by_their_last_words(shell: Shell) -> None:
    run(small_design(replications=1, sweep={"axes": [{"key": LIVE, "values": [8, 16]}]}), shell.folder / "dotted")
    done = shell("compare", "dotted", "dotted")
    assert done.code == 0
    assert re.search(r"^ live +response", done.out, re.MULTILINE)


KNOWN = {"latency_mean": 5.0, "latency_p999": np.nan, "zone_lock_wait": 90.0, "unusable_index": 0.0, "memory_held": 0.0}
FAILED = {"latency_mean": 3.0, "latency_p999": 12.5}


def told_of(*axes: Any, **factors: float) -> list[str]:
    """What is printed of the rows of a made-up study and of the same with some responses scaled, at 80 columns."""
    study = made_up(*axes, replications=6)
    name = study.responses["response"]
    beside = {"model_error": name.map(KNOWN), "failed_share": name.map(FAILED)}
    a = replace(study, responses=study.responses.assign(**beside))
    compared = compare(a, scaled(a, **factors), Bounds(0.05, {"latency_p999": 9.0}))
    out = StringIO()
    console = TextConsole(file=out, width=80, highlight=False)
    show_rows(compared, console)
    for line in verdict(compared):
        console.print(line, markup=False)
    return out.getvalue().splitlines()


def test_the_rows_fit_80_columns_and_nothing_is_cut() -> None:
    dotted = [axis._replace(name=f"machine.{axis.name}") for axis in (page_size_axis(), order_axis(9, 10))]
    lines = told_of(*dotted, workload_axis(), latency_mean=1.1, latency_p999=1.3, zone_lock_wait=1.1, memory_held=30.0)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    marked = [line.split()[-1] for line in lines if line.startswith((" 4KiB ", " 16KiB ", " 64KiB "))]
    assert [marked.count(mark) for mark in ("worse", "~", "?")] == [24, 12, 12]
    (first,) = [n for n, line in enumerate(lines) if " latency_p999 " in line][:1]
    assert {"never", "12.5"} <= set(lines[first].split())
    assert "measured" in lines[first + 1].split()


def test_differences_are_said_in_sentences() -> None:
    lines = told_of(page_size_axis(), latency_mean=1.1, latency_p999=1.3, memory_held=0.5)
    text = " ".join(" ".join(lines).split())
    assert re.search(r"page size (4|16|64)KiB: mean latency worse by 10\.\d % \(8\.\d to 11\.\d\)", text)
    p999 = r"page size \w+: 99\.9th percentile of latency worse by (29|30)\.\d % \([\d.]+ to [\d.]+\); the model's"
    assert re.search(p999, text)
    assert re.search(r"page size \w+: memory taken since the start, at the end better by \d", text)
    assert "and 3 more that differ" in text
    assert "page size 64KiB: mean latency worse by 10" in text, "of what is worse by more than its bound"


def test_shares_are_read_as_they_are_written() -> None:
    assert bounds_of(["5%", "a=10 %", "b = 0.3"]) == Bounds(0.05, {"a": 0.1, "b": 0.3})
    assert bounds_of([]) == Bounds(None, {})
    for wrong in ("nan", "inf", "%", "", "a=-1"):
        with pytest.raises(NotAResult):
            bounds_of([wrong])
