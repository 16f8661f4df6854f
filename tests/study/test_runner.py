"""Running a study of one point: progress, bugs of ours with what is needed to see them again."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import simpy
from pandas.testing import assert_frame_equal

from kmsim.mm.mmzone import PG_PCP
from kmsim.sim import drivers
from kmsim.sim import simulation as sim
from kmsim.sim.records import Core
from kmsim.sim.simulation import Simulation
from kmsim.study import runner
from kmsim.study.runner import ModelBug, run_point, run_study
from kmsim.study.store import Result
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
    monkeypatch.setattr(sim, "machine_of", bug)
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

    def draw(result: Result, folder: Path) -> None:
        drawn.append((folder, sorted(result.tables)))

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
