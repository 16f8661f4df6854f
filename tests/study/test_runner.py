"""Running a study of one point: progress, bugs of ours with what is needed to see them again."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simpy
from pandas.testing import assert_frame_equal

from kmsim.mm.mmzone import PG_PCP
from kmsim.sim import simulation as sim
from kmsim.sim.core.records import Core
from kmsim.sim.run import assembly, drivers
from kmsim.sim.simulation import Simulation
from kmsim.study import runner
from kmsim.study.runner import ModelBug, run_point, run_study
from kmsim.study.store import Result
from kmsim.study.warm_up import mser_5
from tests.studies import lock_prices_only, study

Told = list[tuple[int, int]]


def bug(*_: object) -> None:
    raise AssertionError("two records disagree")


def test_progress_goes_up_to_all_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "PROGRESS_EVERY", 10)  # events: the sampler's, here
    told: Told = []
    config = study({"operations": 1500, "live": 4}, run={"sample_every": "100ns"})
    run_point(config, lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {3000}
    done = [done for done, _ in told]
    assert done == sorted(done)
    assert done[-1] == 3000
    assert len(set(done)) > 10


def test_a_failed_assertion_says_study_seed_and_simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = study({"cpus": [0], "operations": 9}, seed=77, costs=lock_prices_only(), run={"validate_every": 1})
    monkeypatch.setattr(drivers, "recount", bug)
    with pytest.raises(ModelBug) as found:
        run_point(config)
    assert str(found.value) == "two records disagree (study small, seed 77, at 76.0 ns)"
    assert isinstance(found.value.__cause__, AssertionError)


def test_a_failed_assertion_inside_a_compiled_core_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(core: Core) -> None:
        core.m.pages["page_flags"][: int(core.m.params[0].nr_frames)] |= PG_PCP

    monkeypatch.setattr(drivers, "recount", damage)
    with pytest.raises(ModelBug, match=r"double free \(study small, seed 1, at [0-9,.]+ ns\)"):
        run_point(study({"cpus": [0], "operations": 50, "live": 5}, run={"validate_every": 20}))


def test_a_bug_at_boot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "machine_of", bug)
    with pytest.raises(ModelBug, match=r"two records disagree \(study small, seed 5, at boot\)"):
        run_point(study(seed=5))


def test_other_errors_are_not_taken_for_bugs_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sim, "recount")
    with pytest.raises(NameError):
        run_point(study())


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_study(study())
    assert result.path is None
    assert list(tmp_path.iterdir()) == []


def test_with_a_folder_the_tables_are_the_same_and_the_figures_drawn(tmp_path: Path) -> None:
    drawn: list[tuple[Path, list[str]]] = []

    def draw(result: Result, folder: Path) -> list[Path]:
        drawn.append((folder, sorted(result.tables)))
        return []

    result = run_study(study(), tmp_path / "result", draw=draw)
    assert result.path == tmp_path / "result"
    assert [(folder.name, tables) for folder, tables in drawn] == [("figures", sorted(result.tables))]
    for name, table in run_study(study()).tables.items():
        assert_frame_equal(table, result.tables[name])


def test_inputs_are_written_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def stop(*_: object) -> None:
        (partial,) = tmp_path.iterdir()
        seen.extend(sorted(path.name for path in partial.iterdir()))
        raise RuntimeError

    monkeypatch.setattr(runner, "run_point", stop)
    with pytest.raises(RuntimeError):
        run_study(study(), tmp_path / "result")
    assert seen == ["config.yaml", "provenance.json"]


def test_the_users_own_processes_are_named_in_the_provenance() -> None:
    def my_thread(simulation: Simulation) -> Generator[simpy.Event, Any, None]:
        yield simulation.env.timeout(1)

    (name,) = run_study(study(), processes=[my_thread]).provenance["processes"]
    assert name.endswith("my_thread")
    assert run_study(study()).provenance["processes"] == []


# ---- warm-up and windows

LONG = {"operations": 3000, "live": 400, "think": "100ns"}


def of_run(**run: object) -> Result:
    return run_study(study(LONG, run={"sample_every": "5us"} | run))


def test_a_warm_up_by_mser_5_is_that_of_the_pilot_and_found_again() -> None:
    result, again = of_run(warm_up="mser-5"), of_run(warm_up="mser-5")
    assert result.warm_up_ns > 0
    assert result.warm_up_ns % 25_000 == 0  # five intervals
    pilot = run_study(study(LONG, run={"sample_every": "5us"}, seed=result.provenance["seed"] + runner.PILOT_SEEDS))
    allocs = pilot.activity[pilot.activity["kind"] == "alloc"]
    cut = mser_5(allocs["mean_ns"].to_numpy()[1:-1])
    assert result.warm_up_ns == allocs["time_ns"].iloc[cut]
    given = of_run(warm_up=f"{round(result.warm_up_ns)}ns")
    for name, table in result.tables.items():
        assert_frame_equal(table, given.tables[name])
        assert_frame_equal(table, again.tables[name])
    assert "warm_up: mser-5" in result.config_yaml


def test_a_warm_up_that_is_found_shows_progress_through_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "PROGRESS_EVERY", 10)
    told: Told = []
    config = study(LONG, run={"sample_every": "1us", "warm_up": "mser-5"})
    run_point(config, lambda done, total: told.append((done, total)))
    done = [done for done, _ in told]
    assert {total for _, total in told} == {12000}
    assert done == sorted(done)
    assert done[-1] == 12000


def test_what_is_counted_begins_at_the_warm_up_and_what_is_there_does_not() -> None:
    whole, late = of_run(), of_run(warm_up="100us")
    assert 0 < late.operations["count"].sum() < whole.operations["count"].sum()
    assert late.cpus["run_ns"].iloc[0] == whole.cpus["run_ns"].iloc[0] - 100_000
    counters = [result.vmstat.set_index("name")["value"] for result in (whole, late)]
    assert counters[0]["nr_free_pages"] == counters[1]["nr_free_pages"]
    assert 0 < counters[1]["pgfree"] < counters[0]["pgfree"]
    for name in ("samples", "memory", "activity"):
        assert_frame_equal(whole.tables[name], late.tables[name])


def test_slubs_counters_begin_at_the_warm_up_and_its_objects_do_not() -> None:
    of_slabs = {"operations": 3000, "live": 50, "requests": [{"cache": "skbuff_head_cache"}]}
    whole, late = (run_study(study(of_slabs, run={"warm_up": warm_up})).slabs for warm_up in ("0ns", "60us"))
    assert whole["live_objects"].tolist() == late["live_objects"].tolist()
    assert 0 < late["alloc_fastpath"].iloc[0] < whole["alloc_fastpath"].iloc[0]
    assert 0 <= late["alloc_slab"].iloc[0] < whole["alloc_slab"].iloc[0]


def test_a_run_that_ends_before_its_warm_up_has_empty_tables_of_counts_and_a_remark() -> None:
    result = of_run(warm_up="1s")
    assert [len(result.tables[name]) for name in ("operations", "histograms", "locks")] == [0, 0, 0]
    assert (result.cpus["run_ns"] == 0).all()
    assert result.activity["count"].sum() == 6000
    assert "nothing was measured" in result.remarks[0]
    assert result.batches == ()


def test_batches_are_tables_whose_histograms_add_up() -> None:
    result = of_run(batch="100us")
    assert len(result.batches) > 3
    keys = [column for column in result.histograms.columns if column != "count"]
    parts = pd.concat([batch["histograms"] for batch in result.batches])
    summed = parts.groupby(keys)["count"].sum()
    whole = result.histograms.set_index(keys)["count"]
    rest = whole.sub(summed, fill_value=0)
    assert (rest >= 0).all()
    assert 0 < rest.sum() < result.batches[-1]["operations"]["count"].sum() * 2
    plain = of_run()
    for name, table in plain.tables.items():
        assert_frame_equal(table, result.tables[name])
