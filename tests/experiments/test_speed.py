"""The experiment about kmsim's own speed: its programs do the same work, and what it says is what it measured."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kmsim
from experiments.figures import NUMBERS, fill_numbers
from experiments.speed.simpy_model import MAX_ORDER, Load, Model
from kmsim.config import Study, design_of, load
from tests.experiments.test_experiments import script

speed = script("speed")

NR_PAGES = 1 << 20  # of the C program, and of the SimPy model if not told otherwise
LOADS = {
    "order0": Load(operations=6000),
    "drains": Load(operations=6000, live=1000, turn=400, batch=31, high=100),
    "fills only": Load(operations=500),
    "one at a time": Load(operations=3000, live=100, turn=100, batch=1, high=1),
}
each_load = pytest.mark.parametrize("task", LOADS.values(), ids=LOADS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled C program."""
    program = speed.compile_plain(tmp_path_factory.mktemp("plain"))
    if program is None:
        pytest.skip("no C compiler")
    return program


def done(nr_cpus: int, task: Load, nr_pages: int = NR_PAGES) -> Model:
    """The SimPy model, run."""
    model = Model(nr_cpus, task, nr_pages)
    model.run()
    return model


# ---- the SimPy model


@each_load
@pytest.mark.parametrize("nr_cpus", [1, 3])
def test_the_simpy_model_loses_no_page_and_no_operation(nr_cpus: int, task: Load) -> None:
    model = done(nr_cpus, task)
    counts = model.counts()
    assert counts["allocs"] + counts["frees"] == nr_cpus * task.operations
    assert counts["held"] == counts["allocs"] - counts["frees"]
    assert counts["held"] + counts["listed"] + counts["free"] == NR_PAGES
    assert counts["listed"] + counts["held"] == (counts["refills"] - counts["drains"]) * task.batch
    pages = [pfn for cpu in model.cpus for pfn in cpu.held + cpu.pages]
    starts = [range(pfn, pfn + (1 << order)) for order, blocks in enumerate(model.zone.free) for pfn in blocks]
    assert sorted(pages + [pfn for block in starts for pfn in block]) == list(range(NR_PAGES))


@each_load
def test_pages_that_come_back_merge_to_the_largest_blocks(task: Load) -> None:
    model = done(2, task)
    for cpu in model.cpus:
        for pfn in cpu.held + cpu.pages:
            model.zone.give_page(pfn)
    assert model.zone.free[MAX_ORDER] == set(range(0, NR_PAGES, 1 << MAX_ORDER))
    assert not any(model.zone.free[:MAX_ORDER])


def test_a_list_drains_above_its_size_and_not_before() -> None:
    assert done(1, LOADS["drains"]).counts()["drains"] > 0
    assert done(1, LOADS["order0"]).counts()["drains"] == 0


def test_a_machine_that_is_full_says_so() -> None:
    with pytest.raises(MemoryError, match="no free page"):
        done(1, Load(operations=2000, live=2000), nr_pages=1024)


def test_cpus_wait_for_the_lock_and_think() -> None:
    alone, many = (done(n, Load(operations=64)) for n in (1, 8))
    assert max(many.cpus[-1].alloc_ns) > 7 * max(alone.cpus[0].alloc_ns)
    thinking = done(1, Load(operations=64, think_ns=1000))
    assert thinking.env.now == pytest.approx(alone.env.now + 64 * 1000)
    assert thinking.cpus[0].alloc_ns == pytest.approx(alone.cpus[0].alloc_ns)


@pytest.mark.parametrize("nr_cpus", [1, 4])
def test_the_simpy_model_does_what_kmsim_does(nr_cpus: int) -> None:
    """With lists of a fixed size, all of it is determined: who allocates, who frees, who refills."""
    operations = 6000
    sets = [f"machine.cpus={nr_cpus}", f"workload.threads[0].operations={operations}", "machine.pcp.auto_tune=false"]
    result = kmsim.run(load(speed.BENCH, sets))
    counts = done(nr_cpus, Load(operations)).counts()
    by_kind = result.operations.groupby("kind")["count"].sum()
    assert (by_kind["alloc"], by_kind["free"]) == (counts["allocs"], counts["frees"])
    assert result.locks["acquisitions"].sum() == counts["refills"] == nr_cpus * 16


# ---- the C program


@each_load
@pytest.mark.parametrize("nr_cpus", [1, 3])
def test_the_c_program_counts_what_the_simpy_model_counts(plain: Path, nr_cpus: int, task: Load) -> None:
    printed, counts = speed.run_plain(plain, nr_cpus, task), done(nr_cpus, task).counts()
    assert {name: printed[name] for name in counts} == counts
    assert printed["recorded"] == nr_cpus * task.operations
    assert printed["largest"] == NR_PAGES >> MAX_ORDER


def test_without_a_compiler_the_row_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert speed.compile_plain(tmp_path) is None
    assert speed.machine()["compiler"] == "no C compiler"
    measured = speed.stored()
    without = measured._replace(results=measured.results[measured.results["program"] != "C"])
    assert speed.table(without).count("no C compiler") == len(speed.CPUS)
    assert "C loop" not in speed.short_numbers(without)


# ---- what is stored and said


@pytest.mark.parametrize(("readme", "numbers"), [("README", "numbers"), ("DOCUMENT", "short_numbers")])
def test_the_readmes_say_what_the_results_say(readme: str, numbers: str) -> None:
    text = getattr(speed, readme).read_text(encoding="utf-8")
    measured, of = speed.stored(), getattr(speed, numbers)
    results, workers = measured.results, measured.workers
    assert fill_numbers(text, of(measured)) == text
    is_kmsim, alone = results["program"] == "kmsim", workers["workers"] == 1
    faster = results.assign(seconds=results["seconds"].where(~is_kmsim, results["seconds"] / 2))
    slower = workers.assign(seconds=workers["seconds"].where(~alone, workers["seconds"] * 2))
    idle = measured._replace(machine={**measured.machine, "load_average": "0.1"})
    others = [
        measured._replace(results=faster),
        idle._replace(workers=slower),
        measured._replace(machine={**measured.machine, "cpu": "another"}),
    ]
    assert [fill_numbers(text, of(other)) == text for other in others] == [False] * 3


def test_results_have_every_measurement() -> None:
    measured, sizes = speed.stored(), speed.Sizes()
    key = ["round", "cpus", "program"]
    points = [(k, n, program) for k in range(sizes.rounds) for n in speed.CPUS for program in speed.PROGRAMS]
    assert list(measured.results[key].itertuples(index=False, name=None)) == points
    of_workers = measured.workers[["round", "workers", "runs"]].itertuples(index=False, name=None)
    assert list(of_workers) == [(k, n, sizes.runs) for k in range(sizes.worker_rounds) for n in (1, 2)]
    for rows in (measured.results, measured.workers):
        assert (rows["seconds"] > 0).all()


def of_seconds(kmsim_s: float, simpy_s: list[float]) -> Any:
    """A measurement on one CPU: a million operations, and another time of SimPy's in each round."""
    rows = [(k, 1, "kmsim", 1_000_000, kmsim_s) for k in range(len(simpy_s))]
    rows += [(k, 1, "SimPy", 1_000_000, seconds) for k, seconds in enumerate(simpy_s)]
    results = pd.DataFrame(rows, columns=["round", "cpus", "program", "operations", "seconds"])
    workers = pd.DataFrame({"round": [0, 0], "workers": [1, 2], "runs": [20, 20], "seconds": [18.0, 10.0]})
    return speed.Measured(results, workers, speed.stored().machine)


def test_rates_and_ratios_are_medians() -> None:
    measured = of_seconds(0.1, [2.0, 5.0, 3.0])
    assert measured.rates().loc[1].to_dict() == pytest.approx({"kmsim": 1e7, "SimPy": 1e6 / 3})
    assert measured.ratios("kmsim", "SimPy").to_dict() == pytest.approx({1: 30})
    assert measured.speed_up() == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0.1, "takes 3.7 to 5.1 times as long as a"), (0.023, "is about as fast as a"), (0.01, "is faster than these")],
)
def test_faster_than_a_kernel_is_said_only_if_it_is(seconds: float, verdict: str) -> None:
    assert f"kmsim {verdict} real CPU" in speed.to_a_kernel(of_seconds(seconds, [1.0]))


def test_a_busy_machine_is_named_so() -> None:
    measured = speed.stored()
    texts = [speed.where(measured._replace(machine={**measured.machine, "load_average": x})) for x in ("0.1", "3.0")]
    assert ["not idle" in text for text in texts] == [False, True]
    texts = [speed.workers(measured._replace(machine={**measured.machine, "load_average": x})) for x in ("0.1", "3.0")]
    assert ["was not measured" in text for text in texts] == [False, True]


def test_the_processor_is_what_the_kernel_calls_it(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Xeon 1\nprocessor\t: 1\nmodel name\t: Xeon 1\n")
    assert speed.cpu_model(cpuinfo) == "Xeon 1"
    assert speed.cpu_model(tmp_path / "none")


def test_the_workers_study_is_of_the_benchs_load() -> None:
    sizes = speed.Sizes()
    (thread,) = load(speed.BENCH).workload.threads
    (mine,) = first_of(speed.study_of(sizes)).workload.threads
    assert mine == thread.model_copy(update={"operations": sizes.run_operations // 16})


def first_of(config: dict[str, Any]) -> Study:
    """The first point of a study."""
    design = design_of(config)
    assert design.nr_runs == config["replications"]
    return design.study_of(design.points[0])


def test_the_document_is_short() -> None:
    text = speed.DOCUMENT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 14
    assert NUMBERS.search(text)


@pytest.mark.slow
def test_the_command_runs_with_tiny_sizes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speed, "was_busy", lambda _: False)
    stores = []
    monkeypatch.setattr(speed, "store", stores.append)
    monkeypatch.setattr(speed, "write_numbers", stores.append)
    monkeypatch.setattr(speed, "CPUS", (1, 4))
    monkeypatch.setattr(speed, "QUICK", speed.QUICK._replace(operations=4000, simpy_operations=800))
    speed.main(["--quick"])
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if re.match(r"\| \d", line)] == ["1", "4"]
    assert "Two workers finish a study of 2 runs" in printed
    assert stores == []


def test_the_figure_is_there() -> None:
    assert speed.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
