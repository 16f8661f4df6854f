"""Studies by the commands: what they print, what they write, and how they end."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from kmsim.config import study_text
from kmsim.session.console import TextConsole
from kmsim.study import executors
from tests.commands import Done, Shell
from tests.study.campaigns import archives, contents, flooded_design, small_design, wrong_with_16

FILES = {"study.yaml", "provenance.json", "runs.parquet", "responses.parquet", "histograms.parquet", "series.parquet"}
RUN = ("run", "small.yaml", "--jobs", "1")


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("small.yaml", study_text(small_design()))
    return shell


def refused(done: Done, message: str) -> bool:
    """Exit code 2, the message on one line, no traceback."""
    return done.code == 2 and done.out == "" and message in done.err and "Traceback" not in done.err


@pytest.mark.slow
def test_figures_of_arms_that_were_not_run_are_left_out_with_a_line(kmsim: Shell) -> None:
    figures = (
        "[{kind: line, name: all, y: latency_mean}, {kind: line, name: of_8, y: latency_mean, where: {live: '8'}}]"
    )
    only = ("--set", "sweep.only.live=[16, 32]", "--set", f"figures={figures}")
    done = kmsim(*RUN, *only)
    assert done.code == 0
    assert "left out, as no run yields what they show: of_8" in done.out.splitlines()
    assert {Path(name).stem for name in kmsim.files() if name.startswith("results/small/figures/")} == {
        "checksums",
        "all",
        "fragmentation",
    }


def test_a_study_prints_what_it_does_and_its_estimates_and_writes_its_folder(kmsim: Shell) -> None:
    done = kmsim(*RUN)
    assert done.code == 0
    assert done.err.splitlines()[0] == "3 points, 6 runs"
    assert re.search(r"^6 of 6 runs done, 0 running, [0-9.]+ runs/s, about 0 s left$", done.err, re.MULTILINE)
    assert "written to results/small" in done.out.splitlines()
    assert done.out.splitlines()[0] == "small: 6 runs of 3 points"
    assert len(re.findall(r"^ +[0-9]+ \S+ .*[0-9.,]+ ±[0-9.,]+", done.out, re.MULTILINE)) >= 3
    names = {Path(name).name for name in kmsim.files()}
    assert FILES | {"design.json", "timing.json", "lock"} < names


@pytest.mark.slow
def test_a_quiet_study_prints_nothing(kmsim: Shell) -> None:
    assert kmsim(*RUN, "--quiet") == (0, "", "")
    assert len(archives(kmsim.folder / "results" / "small")) == 6


@pytest.mark.slow
def test_the_same_command_says_what_it_uses_again_and_what_was_wrong(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    out = kmsim.folder / "results" / "small"
    before, damaged = contents(out), archives(out)[3]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = kmsim(*RUN)
    assert done.code == 0
    assert "used again: 5 runs that are there already" in done.err
    assert f"computed again: results/small/runs/{damaged.name}: must be a run's result; it" in done.err
    assert contents(out) == before


@pytest.mark.slow
def test_json_is_one_document_and_the_same_from_run_and_show(kmsim: Shell) -> None:
    ran = kmsim(*RUN, "--json", "--quiet")
    document = json.loads(ran.out)
    assert set(document) == {"provenance", "runs", "estimates", "comparisons"}
    assert [row["live"] for row in document["runs"]] == ["8", "8", "16", "16", "32", "32"]
    assert kmsim("show", "results/small", "--json") == (0, ran.out, "")


@pytest.mark.slow
def test_one_point_is_shown_as_it_would_run_alone(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    shown = json.loads(kmsim("show", "results/small", "--point", "1", "--replication", "1", "--json").out)
    alone = kmsim("run", "small.yaml", "--point", "1", "--replication", "1", "--json", "--quiet")
    ran = json.loads(alone.out)
    assert shown["provenance"]["seed"] == ran["provenance"]["seed"] == 2
    assert shown["operations"] == ran["operations"]
    assert (kmsim.folder / "results" / "small-point-1" / "provenance.json").is_file()
    said = kmsim("show", "results/small", "--point", "1", "--replication", "1").out.splitlines()[0]
    assert said == "small: point 1 (live 16), replication 1"


def test_one_point_can_be_looked_at_stepwise(kmsim: Shell) -> None:
    whole = json.loads(kmsim("run", "small.yaml", "--point", "2", "--json", "--quiet").out)
    steps = json.loads(kmsim("run", "small.yaml", "--point", "2", "--stepwise", "--json", "--quiet").out)
    assert "stepwise: true" in (kmsim.folder / "results" / "small-point-2" / "config.yaml").read_text()
    assert steps["operations"] == whole["operations"]


@pytest.mark.slow
def test_shards_are_merged_to_what_a_whole_run_leaves(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    for shard in ("1", "2"):
        assert kmsim(*RUN, "--quiet", "--shard", f"{shard}/2", "--out", f"part-{shard}").code == 0
        assert not list((kmsim.folder / f"part-{shard}").glob("*.parquet")), "a shard is no study"
        assert "the study is not finished" in kmsim("show", f"part-{shard}").err
    done = kmsim("merge", "merged", "part-1", "part-2", "--quiet")
    assert done == (0, "", "")
    assert contents(kmsim.folder / "merged") == contents(kmsim.folder / "results" / "small")


def test_check_says_how_many_points_how_long_and_how_much(kmsim: Shell) -> None:
    done = kmsim("check", "small.yaml")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "small.yaml: fine, 3 points, 6 runs; 0 dropped"
    told = r"small\.yaml: about \d+ s on \d+ CPUs? of this computer, once it is compiled; \d MB"
    assert re.fullmatch(told, done.out.splitlines()[1])


@pytest.mark.slow
def test_failed_runs_end_with_4_and_the_others_are_kept(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "function_named", lambda _: wrong_with_16)
    done = kmsim(*RUN)
    assert done.code == 4
    assert "2 runs failed; failures/ says why; please report what is a bug of kmsim" in done.err
    assert "small: 6 runs of 3 points, 2 failed" in done.out
    assert len(archives(kmsim.folder / "results" / "small")) == 4
    assert kmsim("show", "results/small", "--point", "1").err.startswith("run 2: must have a result; it failed (see re")


@pytest.mark.slow
def test_runs_that_a_flood_of_interrupts_ends_are_said_in_red_left_out_and_end_with_4(
    kmsim: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    kmsim.write("small.yaml", study_text(flooded_design("1ms", "30us", "15us")))
    monkeypatch.setattr("kmsim.session.pace.stderr", TextConsole(stderr=True, force_terminal=True, highlight=False))
    done = kmsim(*RUN)
    assert done.code == 4
    said = "in 1 of 3 runs the simulated machine could not go on; column `stuck` of runs says why; they are left out of"
    assert f"\x1b[1;31m{said}" in done.err
    assert "left out of all that follows: 1 run in which the simulated machine could not go on" in done.out
    runs = pd.read_parquet(kmsim.folder / "results/small/runs.parquet").set_index("every")
    why = "livelock: for 100ms no thread has finished an operation, though some want to run"
    assert runs["stuck"].to_dict() == {"1ms": "", "30us": "", "15us": why}
    again = kmsim(*RUN, "--json")
    assert again.code == 4, "as long as there are such runs"
    document = json.loads(again.out)
    assert [row["n"] for row in document["estimates"] if row["every"] == "15us"] == [0, 0, 0]
    assert {row["level"]: row["n"] for row in document["comparisons"]} == {"30us": 1, "15us": 0}


REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "no shard": (("--shard", "0/2"), "--shard 0/2: must be i/n with 1 <= i <= n, such as 1/8"),
    "a shard too many": (("--shard", "3/2"), "--shard 3/2: must be i/n"),
    "a shard in words": (("--shard", "first"), "--shard first: must be i/n"),
    "no point": (("--point", "3"), "--point 3: must be one of the study's points, 0 to 2"),
    "a point of a shard": (("--point", "1", "--shard", "1/2"), "--shard: must be left out where --point is given"),
    "a point by workers": (("--point", "1", "--jobs", "2"), "--jobs: must be left out where --point is given"),
    "a cluster's workers": (
        ("--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"),
        "--jobs: must be left out where --scheduler is given",
    ),
    "a replication of all": (("--replication", "1"), "--replication: must come with --point"),
    "no replication": (("--point", "1", "--replication", "2"), "--replication 2: must be one of the study's, 0 to 1"),
    "no workers": (("--jobs", "0"), "Invalid value for '--jobs'"),
    "no scheduler": (("--scheduler", "nowhere"), "--scheduler nowhere: must be the address of a Dask scheduler"),
    "a file in the way": (("--out", "small.yaml"), "small.yaml: must be a folder that can be written; Not a directory"),
    "no name": (("--out", ""), "an empty name: must be a folder that can be written; it has no characters"),
    "the root": (("--out", "/"), "/: must be a folder that can be written; it is the root of all folders"),
    "a name too long": (("--out", "x" * 300), "must be a folder that can be written; File name too long"),
    "a loop of links": (("--out", "loop/below"), "loop/below: must be a folder that can be written; Too many levels"),
    "a folder of mine": (("--out", "."), ".: must be a new folder or an earlier result of a study; it holds something"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_users_mistake_is_one_message(case: str, kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmsim.study.cluster.CONNECT_S", 1)
    options, message = REFUSALS[case]
    (kmsim.folder / "loop").symlink_to("loop")
    before = kmsim.files()
    done = kmsim("run", "small.yaml", *options)
    assert refused(done, message), done
    assert kmsim.files() == before


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", ""])
def test_one_run_refuses_a_cluster(address: str, kmsim: Shell) -> None:
    kmsim.write("one.yaml", "machine: x86-612-4k-256M-c2\nworkload: {threads: [{name: a}]}\n")
    done = kmsim("run", "one.yaml", "--scheduler", address)
    assert refused(done, "--scheduler: must be of a study; this is one run, which is done here"), done
    assert kmsim.files() == ["one.yaml", "small.yaml"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_response_that_no_run_yields_is_refused(command: str, kmsim: Shell) -> None:
    kmsim.write("small.yaml", study_text(small_design(responses=[{"measure": "latency_mean", "order": 9}])))
    done = kmsim(command, "small.yaml")
    must = "must be about something that a run has: order 0 with GFP_KERNEL, order 4 with GFP_KERNEL"
    what = f"{must}, found order 9"
    assert refused(done, what), done
    assert not (kmsim.folder / "results").exists()


@pytest.mark.slow
def test_figures_that_cannot_be_written_are_said(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet", "--shard", "1/1")
    figures = kmsim.folder / "results" / "small" / "figures"
    shutil.rmtree(figures)
    figures.write_text("in the way")
    done = kmsim(*RUN, "--quiet")
    assert refused(done, "results/small/figures: must be a folder that can be written; Not a directory")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs", "failures", "figures"])
def test_a_link_in_place_of_a_folder_is_not_followed(name: str, kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    shutil.rmtree(kmsim.folder / "results" / "small" / name)
    (kmsim.folder / "mine").mkdir()
    (kmsim.folder / "results" / "small" / name).symlink_to("../../mine")
    before = kmsim.files()
    why = f"results/small/{name}: must be a folder that can be written; it is a link, which is not followed"
    assert refused(kmsim(*RUN), why)
    if name == "figures":
        assert refused(kmsim("plot", "results/small"), why)
    assert kmsim.files() == before


def test_ctrl_c_while_drawing_says_that_all_runs_are_kept(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kmsim.plots.study_figures.draw_study", interrupted)
    said = "interrupted; 6 of 6 runs are kept; the same command goes on\n"
    assert kmsim(*RUN, "--quiet") == Done(130, "", said)
    assert len(archives(kmsim.folder / "results" / "small")) == 6


@pytest.mark.slow
def test_a_plain_run_never_replaces_a_study(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    before = kmsim.files()
    done = kmsim("run", "small.yaml", "--point", "0", "--out", "results/small")
    assert refused(done, "results/small: must be a new folder or an earlier result of one run; it holds a study")
    kmsim("run", "small.yaml", "--point", "0", "--quiet")
    done = kmsim(*RUN, "--out", "results/small-point-0")
    assert refused(done, "results/small-point-0: must be a new folder or an earlier result of a study")
    assert [name for name in kmsim.files() if "point-0" not in name] == before


@pytest.mark.slow
def test_a_folder_that_is_not_finished_says_how_to_go_on(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    (kmsim.folder / "results" / "small" / "design.json").unlink()
    done = kmsim("show", "results/small")
    assert refused(done, "design.json: must be there; the study is not finished: the command that ran it goes on")


@pytest.mark.slow
def test_a_changed_study_leaves_the_same_files_as_one_run_at_once(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    changed = small_design(8, 16, replications=2, responses=["latency_p99"])
    kmsim.write("small.yaml", study_text(changed))
    assert "used again: 4 runs that are there already" in kmsim(*RUN).err
    kmsim(*RUN, "--quiet", "--out", "at-once")
    again, at_once = (contents(kmsim.folder / name) for name in ("results/small", "at-once"))
    assert {name: again[name] for name in at_once} == at_once
    assert all(name.startswith("runs/") for name in set(again) - set(at_once))


@pytest.mark.slow
def test_points_that_stay_imprecise_are_said_by_run_and_by_show(kmsim: Shell) -> None:
    until = {"response": "latency_mean", "half_width": 1e-6, "at_least": 2, "at_most": 3}
    kmsim.write("small.yaml", study_text(small_design(replications={"until": until})))
    ran, shown = kmsim(*RUN), kmsim("show", "results/small")
    assert "3 points are less precise than asked for at the most replications: 0, 1, 2" in ran.err
    for done in (ran, shown):
        assert "less precise than asked for, at the most replications: 0, 1, 2" in done.out


@pytest.mark.slow
def test_a_study_of_one_run_has_intervals_of_quantiles_by_order_statistics(kmsim: Shell) -> None:
    kmsim.write("small.yaml", study_text(small_design(8, replications=1, responses=["latency_p50", "latency_mean"])))
    rows = json.loads(kmsim(*RUN, "--json", "--quiet").out)["estimates"]
    assert [row["method"] for row in rows] == ["order statistics", ""]
    assert rows[0]["ci_low"] < rows[0]["mean"] < rows[0]["ci_high"]
    assert rows[1]["ci_low"] is None


@pytest.mark.slow
def test_independent_random_numbers_are_not_paired(kmsim: Shell) -> None:
    found = {}
    for numbers in ("common", "independent"):
        replications = {"number": 8, "random_numbers": numbers}
        of = small_design(8, 16, replications=replications, comparisons=[{"axis": "live"}], responses=["latency_mean"])
        kmsim.write("small.yaml", study_text(of))
        document = json.loads(kmsim(*RUN, "--out", numbers, "--json", "--quiet").out)
        (found[numbers],) = document["comparisons"]
    assert found["common"]["variance_ratio"] is not None
    assert found["independent"]["variance_ratio"] is None
