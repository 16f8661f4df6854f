"""The experiment on upgrading the kernel: README, results and script fit together, and its claims hold."""

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load

from .test_experiments import script

upgrade = script("upgrade")


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return pd.read_csv(upgrade.RESULTS, dtype={"release": str})


def test_readme_says_what_results_say(results: pd.DataFrame) -> None:
    readme = upgrade.README.read_text(encoding="utf-8")
    assert fill_numbers(readme, upgrade.numbers(results)) == readme
    assert fill_numbers(readme, upgrade.numbers(results.assign(mean_ns=2 * results["mean_ns"]))) != readme
    assert upgrade.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_results_have_every_point_and_no_failure(results: pd.DataFrame) -> None:
    assert list(results[["work", "release", "seed"]].itertuples(index=False, name=None)) == upgrade.POINTS
    assert not results.isna().any(axis=None)
    assert (results["failed"] == 0).all()


@pytest.mark.parametrize("release", upgrade.RELEASES)
def test_a_point_is_one_workload_on_one_release(release: str) -> None:
    machine = upgrade.study_of("churn", release, 3).machine
    assert (machine.kernel_release, machine.policies_of) == (release, release)
    assert load(upgrade.STUDY).name == upgrade.STUDY.stem


def test_what_readme_says_of_releases_holds_for_every_seed(results: pd.DataFrame) -> None:
    """Blocks of order 1 to 3 need the zone's lock less on per-CPU lists, and less on lists that tune themselves."""
    locks = results.set_index(["work", "release", "seed"])["zone_lock_per_1000"]
    for seed in upgrade.SEEDS:
        oldest, middle, newest = (locks["fork-exit", release, seed] for release in upgrade.RELEASES)
        assert oldest > middle > newest, seed


@pytest.mark.slow
def test_a_point_comes_out_as_in_results(results: pd.DataFrame) -> None:
    for release in upgrade.RELEASES:
        row = pd.DataFrame([upgrade.row_of("fork-exit", release, 1)])
        at = (results["work"] == "fork-exit") & (results["release"] == release) & (results["seed"] == 1)
        assert at.sum() == 1
        pd.testing.assert_frame_equal(row, results[at].reset_index(drop=True), rtol=1e-5)
