"""What a run is expected to take: long ones are known to be long before they run, and how long, as was measured.

No time is taken here: what was measured stands in experiments/expected_cost, and the estimate is arithmetic.
"""

from pathlib import Path
from typing import Any

import pytest

from experiments.expected_cost.record import Case, recorded, study_of
from kmsim.config import Study
from kmsim.study.campaign import Campaign
from kmsim.study.executors import Serial
from kmsim.study.expected_cost import (
    PARENT_S,
    STUDY_S,
    WORKER_S,
    expected_cost,
    simulation_s,
    study_s,
    work_of,
)
from kmsim.study.study_folder import StudyFolder
from kmsim.workload.plan import plan_of
from tests.studies import study
from tests.study.campaigns import LIVE, small_design

MANY = {"operations": 1_000_000}
SLABS, AREAS = {"requests": [{"cache": "skbuff_head_cache"}]}, {"requests": [{"api": "vmalloc", "bytes": "9KiB"}]}
LONGER = {
    "operations": (study({"operations": 10}), study(MANY)),
    "sizes": (study(MANY | SLABS), study(MANY | {"requests": [{"api": "kmalloc", "bytes": {"exponential": "99B"}}]})),
    "vmalloc": (study(MANY | SLABS), study(MANY | AREAS)),
    "frames": (study(), study(memory="64GiB")),
    "aged": (study(memory="4GiB"), study(memory="4GiB", state={"aged": {"order": 9, "unusable_index": 0.5}})),
    "steps": (study(MANY), study(MANY, run={"stepwise": True})),
    "a warm-up to be found": (study(MANY), study(MANY, run={"warm_up": "mser-5"})),
}


@pytest.mark.parametrize("what", LONGER)
def test_what_takes_longer_is_expected_to(what: str) -> None:
    short, long = (expected_cost(one).seconds for one in LONGER[what])
    assert 0 < short < long


def test_what_keeps_more_takes_more_of_the_disk() -> None:
    plain, slabs, mapped = (
        expected_cost(one).nr_bytes for one in (study(), study(SLABS), study(run={"memory_map": 20}))
    )
    assert plain < slabs
    assert plain < mapped


@pytest.mark.parametrize(("case", "cpu_s", "counts"), list(recorded()), ids=str)
def test_what_was_measured_is_expected_within_a_factor_of_two(case: Case, cpu_s: float, counts: dict[str, int]) -> None:
    of = study_of(case)
    plan = plan_of(of.workload, of.machine)
    assert {kind: round(number) for kind, number in work_of(of, plan).items()} == counts
    assert 0.5 < simulation_s(of, plan) / cpu_s < 2


def counted(thread: dict[str, Any], **others: Any) -> dict[str, float]:
    """What a run is priced for."""
    one = study(thread, **others)
    return {kind: n for kind, n in work_of(one, plan_of(one.workload, one.machine)).items() if n and kind != "frame"}


def test_what_is_counted_is_what_a_run_does() -> None:
    page = {"operations": 100, "requests": [{"order": 0}]}
    assert counted(page) == {"pages": 200}
    assert counted({**page, "per_cpu": 2}) == {"pages": 400, "shared CPU": 400}
    assert counted({**page, "think": {"exponential": "1us"}, "lifetime": "1us"}) == {
        "pages": 200,
        "drawn pause": 200,
        "timed": 200,
    }
    assert counted({**page, "requests": [{"order": 0}, {"order": 2, "weight": 3}]}) == {"pages": 200, "block": 150}
    area = {"api": "vmalloc", "bytes": {"uniform": {"low": "4KiB", "high": "12KiB"}}}
    assert counted({**page, "requests": [area]}) == {"area": 200, "mapped page": 400, "drawn size": 200}


def test_phases_until_a_time_and_interrupts_are_counted_by_how_long_the_run_is() -> None:
    until = {"phases": [{"do": "churn", "until": "1ms"}], "think": "800ns", "requests": [{"order": 0}]}
    assert counted(until) == {"pages": 2 * 1000}  # 800 ns and a latency of 200
    page = {"gfp": "GFP_ATOMIC", "order": 0}
    irq = {"name": "nic", "kind": "irq", "cpus": [0], "arrivals": {"poisson": "100us"}, "batch": 5, "requests": [page]}
    found = counted(until, interrupts=[irq | {"lifetime": "immediate"}])
    assert found == {"pages": 2000 + 100, "drawn pause": 100, "timed": 100}


def test_a_study_takes_as_long_as_its_runs_divided_by_its_workers_and_what_one_process_does() -> None:
    run_s = PARENT_S + WORKER_S + 1
    assert study_s(100 * run_s, 100, 1) == pytest.approx(STUDY_S + 100 * run_s)
    assert study_s(100 * run_s, 100, 4) == pytest.approx(STUDY_S + 100 * PARENT_S + 25 * (1 + WORKER_S))
    for nr_runs in (10, 1_000, 20_000):
        few, many = (study_s(nr * run_s, nr, 2) - STUDY_S for nr in (nr_runs, 3 * nr_runs))
        assert many == pytest.approx(3 * few)


class Noting(Serial):
    """Notes in which order runs were begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []

    def submit(self, key: str, study: Study) -> None:
        self.begun.append(study.workload.threads[0].operations or 0)
        super().submit(key, study)


def test_long_runs_begin_first(tmp_path: Path) -> None:
    operations = {"key": LIVE.replace("live", "operations"), "values": [1_000, 90_000, 20, 40_000]}
    executor = Noting()
    with StudyFolder(tmp_path / "out") as folder:
        campaign = Campaign(small_design(sweep={"axes": [operations]}, replications=1), folder)
        campaign.prepare()
        campaign.work(executor)
    assert executor.begun == [90_000, 40_000, 1_000, 20]
