"""`kmsim sensitivity` as a user has it: what it prints and writes, how it goes on and exits, what it refuses."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from kmsim.config import design_of, study_text
from kmsim.study import executors
from tests.commands import Shell
from tests.studies import mapping
from tests.study.campaigns import archives, contents, small_design, wrong_with_16
from tests.study.test_sensitivity import GUESSED, guessed_design, prices

TABLES = {"effects.csv", "conclusions.csv", "indices.csv"}
FIGURE = {"effects_figure.png", "effects_figure.pdf", "effects_figure.csv"}
OUT = "results/small-sensitivity"
COMMAND = ("sensitivity", "small.yaml", "--jobs", "1")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder with a study of two points, two of whose prices are not known exactly; one has no effect."""
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("small.yaml", study_text(guessed_design(comparisons=[{"axis": "live"}])))
    return shell


@pytest.mark.slow
def test_it_says_what_it_runs_what_moves_and_which_conclusions_change(shell: Shell) -> None:
    done = shell(*COMMAND, "--samples", "2")
    assert done.code == 0, done.err
    assert "one at a time: 5 versions of the prices, 10 points, 20 runs\n" in done.err
    assert "all at once: 6 versions of the prices, 6 points, 6 runs\n" in done.err
    assert re.search(r"alloc_fast +56 ns +(28|112) ns +\w+ +[+-]", done.out)
    assert "1 price has no effect here" in done.out
    assert re.search(r"^\d of 3 conclusions hold wherever a price lies in its interval", done.out, re.MULTILINE)
    assert "Sobol' indices at the first point" in done.out
    assert f"written to {OUT}\n" in done.out
    out = shell.folder / OUT
    assert {path.name for path in out.iterdir()} == TABLES | FIGURE | {"one-at-a-time", "sobol"}
    effects, conclusions, indices = (pd.read_csv(out / f"{name}.csv") for name in ("effects", "conclusions", "indices"))
    assert set(effects["version"]) == {f"{name} {sign} 2" for name in ("alloc_fast", "interrupt") for sign in "/x"}
    assert set(conclusions["response"]) == {"latency_mean", "failed_share", "lock_wait_share"}
    assert set(indices["price"]) == {"alloc_fast"}, "one without effect is not sampled"


def test_json_is_what_the_files_hold(shell: Shell) -> None:
    done = shell(*COMMAND, "--samples", "0", "--json")
    assert (done.code, done.err) == (0, "")
    said = json.loads(done.out)
    assert set(said) == {"effects", "conclusions", "indices"}
    assert said["indices"] == []
    pd.testing.assert_frame_equal(pd.DataFrame(said["effects"]), pd.read_csv(shell.folder / OUT / "effects.csv"))
    assert len(said["conclusions"]) == 3
    assert not (shell.folder / OUT / "sobol").exists()


@pytest.mark.slow
def test_the_same_command_goes_on_and_leaves_the_same(shell: Shell) -> None:
    shell(*COMMAND, "--samples", "2")
    out = shell.folder / OUT
    before = contents(out)
    archives(out / "one-at-a-time")[7].unlink()
    (out / "effects.csv").unlink()
    done = shell(*COMMAND, "--samples", "2")
    assert done.code == 0
    assert "used again: 19 runs that are there already" in done.err
    assert "used again: 4 runs that are there already" in done.err, "of one price, B and AB are the same runs"
    assert contents(out) == before


def test_overrides_and_the_folder_are_the_users(shell: Shell) -> None:
    sets = ("--set", "replications=1", "--set", "sweep.only={live: 16}")
    done = shell(*COMMAND, *sets, "--out", "mine", "--factor", "1.5", "--samples", "0")
    assert done.code == 0, done.err
    assert "5 versions of the prices, 5 points, 5 runs" in done.err
    effects = pd.read_csv(shell.folder / "mine" / "effects.csv")
    assert set(effects["version"]) >= {"alloc_fast / 1.5", "alloc_fast x 1.5"}
    assert set(effects["point"]) == {"live 16"}
    assert not (shell.folder / "results").exists()


def test_one_run_without_a_sweep_is_varied(shell: Shell) -> None:
    shell.write("one.yaml", study_text(design_of(mapping(costs=prices(**GUESSED)))))
    done = shell("sensitivity", "one.yaml", "--jobs", "1", "--samples", "2")
    assert done.code == 0, done.err
    assert "5 versions of the prices, 5 points, 5 runs" in done.err
    assert "the study has no comparisons, so no conclusions that could change" in done.out
    assert pd.read_csv(shell.folder / OUT / "effects.csv")["point"].isna().all()


@pytest.mark.slow
def test_failed_runs_end_with_4_and_the_others_are_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "function_named", lambda _: wrong_with_16)
    done = shell(*COMMAND, "--samples", "2")
    assert done.code == 4
    assert "10 runs failed" in done.err
    assert set(pd.read_csv(shell.folder / OUT / "effects.csv")["point"]) == {"live 8"}
    done = shell(*COMMAND, "--samples", "2", "--set", "sweep.only={live: 16}", "--out", "other")
    assert done.code == 4
    assert "no price has an effect on any response" in done.out


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no factor": (("--factor", "1"), "--factor 1: must be above 1 and at most 1000"),
    "a factor without end": (("--factor", "inf"), "--factor inf: must be above 1 and at most 1000"),
    "a factor that is no number": (("--factor", "nan"), "--factor nan: must be above 1 and at most 1000"),
    "no power of two": (("--samples", "3"), "--samples 3: must be a power of two up to 1024, or 0 for no indices"),
    "less than nothing": (("--samples", "-1"), "--samples -1: must be a power of two up to 1024"),
    "too many": (("--samples", "2048"), "--samples 2048: must be a power of two up to 1024"),
    "a file in the way": (("--out", "small.yaml"), "small.yaml: must be a folder that can be written"),
    "the root": (("--out", "/"), "/: must be a folder that can be written; it is the root of all folders"),
    "a folder of mine": (("--out", "."), ".: must be a new folder or an earlier result of this command"),
    "nothing to vary": (("--set", "costs=nothing.yaml"), "must have prices above 0 whose intervals have a width"),
    "an axis that is not there": (("--set", "sweep.only={lives: [8]}"), "lives"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_users_mistake_is_one_message(case: str, shell: Shell) -> None:
    options, message = REFUSED[case]
    shell.write("nothing.yaml", json.dumps(prices()))
    before = shell.files()
    done = shell(*COMMAND, *options)
    assert (done.code, done.out) == (2, ""), done
    assert message in done.err
    assert "Traceback" not in done.err
    assert shell.files() == before


@pytest.mark.slow
def test_all_prices_of_the_shipped_list_are_varied(shell: Shell) -> None:
    shell.write("default.yaml", study_text(small_design(8, replications=1)))
    done = shell("sensitivity", "default.yaml", "--jobs", "1", "--samples", "0", "--json")
    assert done.code == 0
    varied = {row["price"] for row in json.loads(done.out)["effects"]}
    assert {"interrupt", "tlb_flush", "watermark_check", "alloc_fast", "lock_hold"} <= varied
