"""The benches: what is run, and what is said of it. How fast it was is for the reader."""

import json
from pathlib import Path

import pytest

from kmsim.config import ConfigError
from kmsim.config.shipped import shipped_file
from kmsim.sim.core.records import FAILED
from kmsim.sim.simulation import new_simulation, run
from kmsim.study.bench import bench_names, measure, study_of_bench
from tests.commands import in_own_process


def test_the_benches_are_those_that_are_shipped() -> None:
    assert bench_names() == ["kmalloc", "order0", "reclaim", "slab_fast", "vmalloc", "zone_lock"]


@pytest.mark.parametrize(("operations", "each"), [(16, 1), (17, 2), (1_000_000, 62_500)])
def test_the_operations_are_divided_evenly_among_the_threads(operations: int, each: int) -> None:
    (thread,) = study_of_bench("order0", operations).workload.threads
    assert thread.operations == each
    assert thread.nr_tasks == 16


def test_a_bench_runs_as_many_operations_as_it_says() -> None:
    result = measure(study_of_bench("zone_lock", 3200))
    assert (result.name, result.operations) == ("zone_lock", 3200)
    assert result.operations_per_s == pytest.approx(3200 / result.run_s, rel=0.01)


def test_every_operation_of_zone_lock_takes_the_lock_and_few_of_order0_do() -> None:
    share = {}
    for name in bench_names():
        simulation = new_simulation(study_of_bench(name, 160_000))
        for _ in run(simulation):
            pass
        share[name] = int(simulation.core.locks["acquisitions"].sum()) / simulation.nr_done
        assert simulation.core.totals[:, :, FAILED].sum() == 0
    assert share["zone_lock"] == 1
    assert share["order0"] < 0.01


def test_the_bench_of_reclaim_says_how_much_there_was() -> None:
    study = study_of_bench("reclaim", 32_000)
    result = measure(study)
    assert result.reclaimed is not None
    share, scanned, reclaimed = result.reclaimed
    assert result.as_dict() == {
        "name": "reclaim",
        "operations": 32_000,
        "run_s": result.run_s,
        "operations_per_s": result.operations_per_s,
        "reclaiming_share": share,
        "pages_scanned": scanned,
        "pages_reclaimed": reclaimed,
    }
    assert 0.005 <= share < 1
    assert scanned >= reclaimed > 10_000  # 16,000 operations read a page that is not there, and some memory was free
    assert f"{scanned:,} pages scanned" in result.line()


def test_a_study_of_ones_own_can_be_a_bench() -> None:
    assert study_of_bench(str(shipped_file("bench", "order0")), 160) == study_of_bench("order0", 160)


def test_an_unknown_bench_names_the_nearest() -> None:
    names = "kmalloc, order0, reclaim, slab_fast, vmalloc, zone_lock"
    with pytest.raises(ConfigError, match=rf"must be a shipped name \({names}\).*did you mean 'order0'"):
        study_of_bench("ordr0", 16)


def test_a_study_with_phases_has_no_number_of_operations_to_set(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("extends: llfree-bulk\nmachine: x86-laptop\n")
    with pytest.raises(ConfigError, match=r"threads\[0\].phases: must be left out where a number of operations"):
        study_of_bench(str(tmp_path / "study.yaml"), 16)


@pytest.mark.slow
def test_the_command_prints_what_scripts_need(tmp_path: Path) -> None:
    done = in_own_process("bench", "order0", "--operations", "3200", "--json", folder=tmp_path)
    assert done.code == 0
    found = json.loads(done.out)
    assert set(found) == {"name", "operations", "run_s", "operations_per_s"}
    assert found["operations"] == 3200


@pytest.mark.parametrize("arguments", [("order0", "--operations", "0"), ("order0", "--operations", "many"), ("fast",)])
def test_a_bench_that_cannot_be_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert in_own_process("bench", *arguments, folder=tmp_path).code == 2
