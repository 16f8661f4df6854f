"""What a run is expected to take: long ones are known to be long before they are run."""

from pathlib import Path

import pytest

from kmsim.config import Study
from kmsim.study.campaign import Campaign
from kmsim.study.executors import Serial
from kmsim.study.expected_cost import expected_cost
from kmsim.study.study_folder import StudyFolder
from tests.studies import study
from tests.study.campaigns import LIVE, small_design

MANY = {"operations": 1_000_000}
SLABS, AREAS = {"requests": [{"cache": "skbuff_head_cache"}]}, {"requests": [{"api": "vmalloc", "bytes": "9KiB"}]}
LONGER = {
    "operations": (study({"operations": 10}), study(MANY)),
    "slabs": (study(MANY), study(MANY | SLABS)),
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
