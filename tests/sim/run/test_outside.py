"""Policies of one's own in whole runs, compiled: two patches on random studies, validated, in both modes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.mm.mmzone import MIGRATE_HIGHATOMIC, PAGE_ALLOC_COSTLY_ORDER
from kmsim.sim.simulation import Simulation, new_simulation, run
from tests.mm.copies import copied
from tests.sim.test_modes import check_same_cores, random_study

PATCHES = Path(__file__).parents[3] / "experiments/highatomic_patches"
NR_STUDIES = 50
# Near the marks, where atomic requests of order > 0 reserve pageblocks; these are small enough for 1 % of a zone.
MACHINE = {
    "thp": {"built_in": False},
    "hugetlb": False,
    "pageblock_order": 5,
    "state": {
        "free_lists": [
            {"zone": "DMA", "free": {"Movable": [0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0]}},
            {"zone": "DMA32", "free": {"Movable": [64, 16, 8, 4, 2, 12, 0, 0, 0, 0, 0]}},
        ]
    },
}


def study_of(seed: int, policy: Path | None, *, stepwise: bool = False) -> dict[str, Any]:
    """A random study near the marks; memory is recounted every now and then."""
    study = random_study(seed)
    study["machine"] |= MACHINE | ({"policies": {"highatomic": str(policy)}} if policy is not None else {})
    study["run"] |= {"validate_every": random.Random(seed).randint(5, 100), "stepwise": stepwise}
    for each in (*study["workload"]["threads"], *study["workload"]["interrupts"]):
        if each.pop("phases", None):
            each["operations"] = 100
        for request in each.get("requests", ()):
            if request.get("gfp") == "GFP_ATOMIC":
                request["order"] = min(request["order"], PAGE_ALLOC_COSTLY_ORDER)
    return study


def simulated(study: dict[str, Any]) -> Simulation:
    simulation = new_simulation(from_mapping(study))
    for _ in run(simulation):
        pass
    return simulation


def nr_reserved(simulation: Simulation) -> int:
    """Pageblocks that are reserved at the end."""
    found = int(np.count_nonzero(simulation.machine.pageblocks == MIGRATE_HIGHATOMIC))
    assert found << 5 == simulation.machine.zones["nr_reserved_highatomic"].sum()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["no_reserve_up_to_costly", "none_after_pcp"])
def test_a_patch_leaves_memory_whole_in_both_modes(patch: str) -> None:
    """Fifty studies each, as the package's own policy reserves in them."""
    file, found = PATCHES / f"{patch}.py", []
    for seed in range(NR_STUDIES):
        default, stepwise = (simulated(study_of(seed, file, stepwise=mode)) for mode in (False, True))
        check_same_cores(default.core, stepwise.core)
        found.append(nr_reserved(default))
    own = [nr_reserved(simulated(study_of(seed, None))) for seed in range(NR_STUDIES)]
    assert sum(own) > 0, "nothing was asked of the policy"
    if patch == "no_reserve_up_to_costly":
        assert sum(found) == 0


@pytest.mark.slow
def test_a_copy_of_the_package_s_own_gives_the_same_run(tmp_path: Path) -> None:
    copy = copied("highatomic", tmp_path)
    own, other = (simulated(study_of(3, policy)) for policy in (None, copy))
    assert other.machine.policies is not None
    check_same_cores(
        own.core._replace(m=own.machine._replace(policies=None)),
        other.core._replace(m=other.machine._replace(policies=None)),
    )
