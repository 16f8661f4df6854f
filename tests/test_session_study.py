"""Studies by the commands: what they print, what they write, and how they end."""

import json
import re
from pathlib import Path

import pytest

from kmsim.config import study_text
from kmsim.study import executors
from tests.commands import Done, Shell
from tests.study.campaigns import archives, contents, small_design, wrong_with_16

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


def test_a_study_prints_what_it_does_and_its_estimates_and_writes_its_folder(kmsim: Shell) -> None:
    done = kmsim(*RUN)
    assert done.code == 0
    assert done.err.splitlines()[0] == "3 points, 6 runs; 0 points are dropped"
    assert re.search(r"^6 of 6 runs done, 0 running, [0-9.]+ runs/s, about 0 s left$", done.err, re.MULTILINE)
    assert "written to results/small" in done.out.splitlines()
    assert re.search(r"^small: 6 runs", done.out, re.MULTILINE)
    assert len(re.findall(r"│ latency_mean *│ 2 +│ +[0-9.,]+ ns +│ .* to .* │", done.out)) == 3
    names = {Path(name).name for name in kmsim.files()}
    assert FILES | {"design.json", "timing.json", "lock"} < names


def test_a_quiet_study_prints_nothing(kmsim: Shell) -> None:
    assert kmsim(*RUN, "--quiet") == (0, "", "")
    assert len(archives(kmsim.folder / "results" / "small")) == 6


def test_the_same_command_says_what_it_uses_again_and_what_was_wrong(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    out = kmsim.folder / "results" / "small"
    before, damaged = contents(out), archives(out)[3]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = kmsim(*RUN)
    assert done.code == 0
    assert "5 runs are there already and used again" in done.err
    assert f"1 files are computed again: results/small/runs/{damaged.name}: must be a run's result; it" in done.err
    assert contents(out) == before


def test_json_is_one_document_and_the_same_from_run_and_show(kmsim: Shell) -> None:
    ran = kmsim(*RUN, "--json", "--quiet")
    document = json.loads(ran.out)
    assert set(document) == {"provenance", "runs", "estimates", "comparisons"}
    assert [row["live"] for row in document["runs"]] == ["8", "8", "16", "16", "32", "32"]
    assert kmsim("show", "results/small", "--json") == (0, ran.out, "")


def test_one_point_is_shown_as_it_would_run_alone(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    shown = json.loads(kmsim("show", "results/small", "--point", "1", "--replication", "1", "--json").out)
    alone = kmsim("run", "small.yaml", "--point", "1", "--replication", "1", "--json", "--quiet")
    ran = json.loads(alone.out)
    assert shown["provenance"]["seed"] == ran["provenance"]["seed"] == 2
    assert shown["operations"] == ran["operations"]
    assert (kmsim.folder / "results" / "small-point-1" / "provenance.json").is_file()


def test_one_point_can_be_looked_at_stepwise(kmsim: Shell) -> None:
    whole = json.loads(kmsim("run", "small.yaml", "--point", "2", "--json", "--quiet").out)
    steps = json.loads(kmsim("run", "small.yaml", "--point", "2", "--stepwise", "--json", "--quiet").out)
    assert "stepwise: true" in (kmsim.folder / "results" / "small-point-2" / "config.yaml").read_text()
    assert steps["operations"] == whole["operations"]


def test_shards_are_merged_to_what_a_whole_run_leaves(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    for shard in ("1", "2"):
        assert kmsim(*RUN, "--quiet", "--shard", f"{shard}/2", "--out", f"part-{shard}").code == 0
    done = kmsim("merge", "merged", "part-1", "part-2", "--quiet")
    assert done == (0, "", "")
    assert contents(kmsim.folder / "merged") == contents(kmsim.folder / "results" / "small")


def test_check_says_how_many_points_how_long_and_how_much(kmsim: Shell) -> None:
    done = kmsim("check", "small.yaml")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "small.yaml: fine, 3 points, 6 runs; 0 are dropped"
    assert re.fullmatch(r"small\.yaml: about \d+ s on the \d+ CPUs of this computer, \d MB", done.out.splitlines()[1])


def test_failed_runs_end_with_4_and_the_others_are_kept(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "function_named", lambda _: wrong_with_16)
    done = kmsim(*RUN)
    assert done.code == 4
    assert "2 runs failed by a bug of kmsim; failures/ holds why; please report it" in done.err
    assert "small: 6 runs, 2 failed" in done.out
    assert len(archives(kmsim.folder / "results" / "small")) == 4
    assert kmsim("show", "results/small", "--point", "1").err.startswith("run 2: must have a result; it failed (see re")


REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "no shard": (("--shard", "0/2"), "--shard 0/2: must be i/n with 1 <= i <= n, such as 1/8"),
    "a shard too many": (("--shard", "3/2"), "--shard 3/2: must be i/n"),
    "a shard in words": (("--shard", "first"), "--shard first: must be i/n"),
    "no point": (("--point", "3"), "--point 3: must be one of the study's points, 0 to 2"),
    "no workers": (("--jobs", "0"), "Invalid value for '--jobs'"),
    "no scheduler": (("--scheduler", "nowhere"), "--scheduler nowhere: must be the address of a Dask scheduler"),
    "a file in the way": (("--out", "small.yaml"), "small.yaml: must be a folder that can be written; Not a directory"),
    "a folder of mine": (("--out", "."), ".: must be a new folder or an earlier result of a study; it holds something"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_users_mistake_is_one_message(case: str, kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmsim.study.cluster.CONNECT_S", 1)
    options, message = REFUSALS[case]
    done = kmsim("run", "small.yaml", *options)
    assert refused(done, message), done
    assert not list(kmsim.folder.rglob("*.zip"))


def test_a_plain_run_never_replaces_a_study(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    before = kmsim.files()
    done = kmsim("run", "small.yaml", "--point", "0", "--out", "results/small")
    assert refused(done, "results/small: must be a new folder or an earlier result of one run; it holds a study")
    kmsim("run", "small.yaml", "--point", "0", "--quiet")
    done = kmsim(*RUN, "--out", "results/small-point-0")
    assert refused(done, "results/small-point-0: must be a new folder or an earlier result of a study")
    assert [name for name in kmsim.files() if "point-0" not in name] == before


def test_a_folder_that_is_not_finished_says_how_to_go_on(kmsim: Shell) -> None:
    kmsim(*RUN, "--quiet")
    (kmsim.folder / "results" / "small" / "design.json").unlink()
    done = kmsim("show", "results/small")
    assert refused(done, "design.json: must be there; the study is not finished: the command that ran it goes on")
