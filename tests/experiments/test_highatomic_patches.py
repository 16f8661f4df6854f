"""The experiment on two patches of the highatomic reserve: README, results and script fit, and the A/B is met."""

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load_design
from tests.experiments.test_experiments import script

patches = script("highatomic_patches")
BUILTIN, COSTLY, PCP = patches.NAMES
MET = 370  # free pageblocks


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return pd.read_csv(patches.RESULTS)


def test_readme_says_what_results_say(results: pd.DataFrame) -> None:
    readme = patches.README.read_text(encoding="utf-8")
    assert fill_numbers(readme, patches.numbers(results)) == readme
    assert fill_numbers(readme, patches.numbers(results.assign(reserved=2 * results["reserved"]))) != readme
    assert patches.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_results_have_every_run_of_the_study(results: pd.DataFrame) -> None:
    design = load_design(patches.STUDY)
    seeds = range(design.seed, design.seed + design.inquiry.replications.first)
    points = [(point.labels["policy"], int(point.labels["whole pageblocks"])) for point in design.points]
    wanted = [(*point, seed) for seed in seeds for point in points]
    assert list(results[["policy", "pageblocks", "seed"]].itertuples(index=False, name=None)) == wanted
    assert (results["atomic_failed_percent"] == 0).all()
    assert (results["huge_asked"] > 30_000).all()


def test_both_kernels_are_within_the_published_a_b_for_every_seed(results: pd.DataFrame) -> None:
    met = results[results["pageblocks"] == MET].set_index("policy")
    for policy, ((low, high), _) in patches.PUBLISHED.items():
        assert met.loc[policy, "huge_percent"].between(low, high).all()
    assert met.loc[BUILTIN, "reserved"].between(309, 312).all()
    assert (met.loc[COSTLY, "reserved"] <= 1).all()


def test_a_patch_is_nowhere_worse_and_changes_nothing_where_memory_is_plenty(results: pd.DataFrame) -> None:
    found = patches.medians(results)["huge_percent"].unstack("policy")
    assert (found[COSTLY] >= found[BUILTIN]).all()
    assert (found[PCP] >= found[BUILTIN]).all()
    plenty = results[results["pageblocks"] == results["pageblocks"].max()]
    assert (plenty["reserved"] == 0).all()
    assert plenty["share_percent"].min() > 2


@pytest.mark.slow
@pytest.mark.parametrize("policy", [BUILTIN, PCP])  # with the other patch random studies are run
def test_a_point_comes_out_as_in_results(policy: str, results: pd.DataFrame) -> None:
    design = load_design(patches.STUDY)
    labels = {"policy": policy, "whole pageblocks": str(MET)}
    (point,) = [one for one in design.points if one.labels == labels]
    row = pd.DataFrame([patches.row_of(design.study_of(point), policy, MET)])
    at = (results["policy"] == policy) & (results["pageblocks"] == MET) & (results["seed"] == design.seed)
    assert at.sum() == 1
    pd.testing.assert_frame_equal(row, results[at].reset_index(drop=True), check_dtype=False, rtol=1e-5)
