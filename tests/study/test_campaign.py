"""Running studies: what is there is used again, what is not is computed, and the bytes are the same in the end."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from kmsim.config import Design
from kmsim.config.design import with_axis
from kmsim.study.campaign import Shard, Stopped
from kmsim.study.executors import Done, Processes, Serial
from kmsim.study.results import load_study
from kmsim.study.store import NotAResult
from kmsim.study.study_folder import NotWritten
from kmsim.study.whole_study import merge
from tests.study.campaigns import RESPONSES, archives, contents, run, small_design

MINE = "tests.study.campaigns"
UNTIL = {"until": {"response": "latency_mean", "half_width": 0.1, "at_least": 2, "at_most": 6}}


class Backwards(Serial):
    """Takes all runs there are and does the last one first."""

    nr_slots = 1000

    def next(self) -> Done:
        self._waiting.reverse()
        done = super().next()
        self._waiting.reverse()
        return done


class Stopping(Serial):
    """Ends as by Ctrl-C after some runs."""

    def __init__(self, nr_runs: int) -> None:
        super().__init__()
        self.nr_left = nr_runs

    def next(self) -> Done:
        self.nr_left -= 1
        if self.nr_left < 0:
            raise KeyboardInterrupt
        return super().next()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three points, two replications each, run at once."""
    out = tmp_path_factory.mktemp("study") / "out"
    outcome = run(small_design(), out)
    assert (outcome.counts.total, outcome.counts.done, outcome.counts.failed) == (6, 6, 0)
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def test_the_tables_hold_every_run_with_its_axes(finished: Path) -> None:
    study = load_study(finished)
    assert study.runs["run"].tolist() == list(range(6))
    assert study.runs[["point", "replication", "seed"]].to_numpy().tolist() == [
        [point, replication, 1 + replication] for point in range(3) for replication in range(2)
    ]
    assert study.runs["live"].tolist() == ["8", "8", "16", "16", "32", "32"]
    assert not study.runs["failed"].any()
    assert study.runs["operations"].tolist() == [80] * 6
    assert study.responses.groupby("run")["response"].apply(list).tolist() == [RESPONSES] * 6
    assert set(study.estimates["n"]) == {2}


@pytest.mark.parametrize("number", range(6))
def test_the_tables_say_what_the_results_of_the_runs_say(number: int, finished: Path) -> None:
    study = load_study(finished)
    result = study.run(number)
    operations = result.operations[result.operations["kind"] == "alloc"]
    mean = (operations["mean_ns"] * operations["count"]).sum() / operations["count"].sum()
    responses = study.responses[study.responses["run"] == number].set_index("response")["value"]
    assert responses["latency_mean"] == pytest.approx(mean)
    assert study.histograms([number])["count"].sum() == result.histograms["count"].sum() == 80
    free = study.series([number]).query("series == 'free_bytes'")
    assert free["value"].tolist() == (result.memory["free_pages"] * 4096.0).tolist()
    assert study.runs.loc[number, "simulated_ns"] == result.cpus["run_ns"].max()


@pytest.mark.slow
@pytest.mark.parametrize("executor", [Backwards(), Processes(2)])
def test_whoever_runs_it_the_bytes_are_the_same(executor: Serial, finished: Path, tmp_path: Path) -> None:
    run(small_design(), tmp_path / "out", executor)
    assert contents(tmp_path / "out") == contents(finished)


def test_the_same_again_computes_nothing(copied: Path) -> None:
    before = contents(copied)
    outcome = run(small_design(), copied, Stopping(0))
    assert outcome.counts.reused == 6
    assert contents(copied) == before


@pytest.mark.parametrize("nr_runs", range(6))
def test_a_stopped_study_says_what_is_kept_and_goes_on(nr_runs: int, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped, match=f"interrupted; {nr_runs} of 6 runs are kept; the same command goes on"):
        run(small_design(), out, Stopping(nr_runs))
    assert len(archives(out)) == nr_runs
    with pytest.raises(NotAResult, match=r"design\.json: must be there; the study is not finished"):
        load_study(out)
    assert run(small_design(), out).counts.reused == nr_runs
    assert contents(out) == contents(finished)


def test_damaged_truncated_and_foreign_files_are_named_and_computed_again(copied: Path) -> None:
    before = contents(copied)
    flipped, truncated, foreign, *_ = archives(copied)
    whole = flipped.read_bytes()
    flipped.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    truncated.write_bytes(truncated.read_bytes()[:-100])
    shutil.copy(archives(copied)[4], foreign)
    (copied / "runs" / "thesis.tex").write_text("mine")
    counts = run(small_design(), copied).counts
    assert counts.reused == 3
    assert len(counts.bad_files) == 3
    assert all(any(path.name in text for text in counts.bad_files) for path in (flipped, truncated, foreign))
    assert counts.other_files == ["thesis.tex"]
    (copied / "runs" / "thesis.tex").unlink()
    assert contents(copied) == before


def test_a_changed_study_uses_again_what_it_still_has(copied: Path, tmp_path: Path) -> None:
    design = small_design(16, 32, 64, replications=3)
    counts = run(design, copied).counts
    assert (counts.total, counts.reused, counts.nr_earlier) == (9, 4, 2)
    run(design, tmp_path / "other")
    ours, other = contents(copied), contents(tmp_path / "other")
    assert {name: ours[name] for name in other} == other
    assert len(ours) == len(other) + 2  # the runs of 8 blocks are left


def test_a_changed_study_that_is_stopped_does_not_look_finished(copied: Path) -> None:
    with pytest.raises(Stopped):
        run(small_design(64), copied, Stopping(0))
    assert not list(copied.glob("*.parquet"))
    with pytest.raises(NotAResult, match="not finished"):
        load_study(copied)


def test_another_name_question_or_response_computes_nothing(copied: Path) -> None:
    others = {"name": "other", "question": "why?", "responses": ["latency_p99"]}
    assert run(small_design(**others), copied, Stopping(0)).counts.reused == 6
    study = load_study(copied)
    assert (study.name, study.question, set(study.responses["response"])) == ("other", "why?", {"latency_p99"})


def test_runs_that_fail_by_our_bug_are_kept_apart_and_tried_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = run(small_design(), out, Serial(f"{MINE}:wrong_with_16")).counts
    assert (counts.done, counts.failed) == (4, 2)
    texts = [path.read_text() for path in (out / "failures").iterdir()]
    assert len(texts) == 2
    assert all("two records disagree" in text for text in texts)
    study = load_study(out)
    assert study.runs["failed"].tolist() == [False, False, True, True, False, False]
    assert set(study.responses["point"]) == {0, 2}
    assert dict(zip(study.estimates["point"], study.estimates["n"], strict=False))[1] == 0
    with pytest.raises(NotAResult, match="must have a result; it failed"):
        study.run(2)
    assert run(small_design(), out).counts.reused == 4
    assert contents(out) == contents(finished)


def test_tables_of_which_some_are_new_do_not_look_finished(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(small_design(), out, Serial(f"{MINE}:wrong_with_16"))
    (out / "responses.parquet").unlink()
    (out / "responses.parquet").mkdir()
    with pytest.raises(NotWritten, match=r"responses\.parquet: must be a file that can be written"):
        run(small_design(), out)
    with pytest.raises(NotAResult, match="the study is not finished"):
        load_study(out)
    (out / "responses.parquet").rmdir()
    run(small_design(), out)
    assert contents(out) == contents(finished)


def test_a_worker_of_another_version_is_found_and_its_results_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(NotAResult, match=r"a worker's answer: .*; has it the same versions of kmsim"):
        run(small_design(), tmp_path / "out", Serial(f"{MINE}:of_another_version"))
    assert not archives(tmp_path / "out")


# ---- replications until


@pytest.fixture(scope="module")
def until(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that replicates until the mean latency is known."""
    out = tmp_path_factory.mktemp("until") / "out"
    counts = run(small_design(replications=UNTIL), out).counts
    estimates = load_study(out).estimates.query("response == 'latency_mean'")
    assert estimates["n"].max() == 6 > estimates["n"].min()
    assert counts.capped == estimates.query("half_width > 0.1")["point"].tolist() != []
    return out


def test_each_point_is_run_until_its_interval_is_narrow(until: Path) -> None:
    estimates = load_study(until).estimates
    means = estimates[estimates["response"] == "latency_mean"]
    assert ((means["half_width"] <= 0.1) | (means["n"] == 6)).all()


@pytest.mark.slow
@pytest.mark.parametrize("executor", [Backwards(), Processes(2)])
def test_how_many_does_not_depend_on_which_is_done_first(executor: Serial, until: Path, tmp_path: Path) -> None:
    run(small_design(replications=UNTIL), tmp_path / "out", executor)
    assert contents(tmp_path / "out") == contents(until)


@pytest.mark.parametrize("nr_runs", [0, 3, 7])
def test_until_goes_on_after_a_stop(nr_runs: int, until: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(small_design(replications=UNTIL), tmp_path / "out", Stopping(nr_runs))
    assert run(small_design(replications=UNTIL), tmp_path / "out").counts.reused == nr_runs
    assert contents(tmp_path / "out") == contents(until)


# ---- shards


def shards(design: Design, folder: Path, of: int, function: str | None = None) -> list[Path]:
    """Every shard of a study, each in a folder of its own."""
    paths = [folder / f"shard-{number}" for number in range(1, of + 1)]
    for number, path in enumerate(paths, 1):
        run(design, path, Serial(function) if function else None, shard=Shard(number, of))
    return paths


@pytest.mark.parametrize("of", [2, 5])
def test_merged_shards_are_the_study(of: int, finished: Path, tmp_path: Path) -> None:
    merge(tmp_path / "out", shards(small_design(), tmp_path, of))
    assert contents(tmp_path / "out") == contents(finished)


def test_merged_shards_of_a_study_until_are_the_study(until: Path, tmp_path: Path) -> None:
    merge(tmp_path / "out", shards(small_design(replications=UNTIL), tmp_path, 2))
    assert contents(tmp_path / "out") == contents(until)


def test_merging_keeps_failures(tmp_path: Path) -> None:
    failing = f"{MINE}:wrong_with_16"
    run(small_design(), tmp_path / "whole", Serial(failing))
    counts = merge(tmp_path / "out", shards(small_design(), tmp_path, 2, failing)).counts
    assert counts.failed == 2
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_missing_damaged_or_other_shard_is_said(tmp_path: Path) -> None:
    first, second = shards(small_design(), tmp_path, 2)
    out = tmp_path / "out"
    with pytest.raises(NotAResult, match="2 runs are missing, first point 1, replication 0"):
        merge(out, [first])
    archives(second)[0].write_bytes(b"")
    with pytest.raises(NotAResult, match=r"1 runs are missing, first point 1, .*shard-2/runs/.*is damaged"):
        merge(out, [first, second])
    run(small_design(8, 16), tmp_path / "other")
    with pytest.raises(NotAResult, match=r"other: must be a shard of the same study as .*; its study\.yaml differs"):
        merge(out, [first, tmp_path / "other"])
    with pytest.raises(NotAResult, match="nothing: must be the result folder of a shard"):
        merge(out, [tmp_path / "nothing"])


# ---- what is in the way


def test_a_file_that_cannot_be_written_stops_with_the_reason_and_what_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run(small_design(), out, Stopping(4))
    (out / "design.json").mkdir()
    with pytest.raises(NotWritten, match=r"design\.json: must be a file that can be written; .*; 6 of 6 runs are kept"):
        run(small_design(), out)


def test_equal_points_are_run_once(tmp_path: Path) -> None:
    axis = {"key": "machine.memory", "values": ["64MiB", "65536KiB"]}  # as the sensitivity to a price may have
    counts = run(with_axis(small_design(sweep={"axes": []}), axis), tmp_path / "out").counts
    assert (counts.total, counts.done, len(archives(tmp_path / "out"))) == (4, 4, 2)
    values = load_study(tmp_path / "out").responses.groupby("point")["value"].apply(list)
    assert values[0] == values[1]


def test_provenance_and_study_say_nothing_of_who_ran_it(finished: Path) -> None:
    facts = json.loads((finished / "provenance.json").read_text())
    assert set(facts) == {
        *("schema_version", "name", "seed", "versions", "python", "host", "model", "nr_points", "nr_dropped")
    }
    assert pd.read_parquet(finished / "runs.parquet")["file"].map(lambda name: (finished / name).is_file()).all()
