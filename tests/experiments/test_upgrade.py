"""The experiment on upgrading the kernel: README, results and script fit together, and its claims hold."""

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load
from tests.experiments.test_experiments import script

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
    """Lists take work off the zone's lock; blocks of order 1 to 3 bring a part of it back with 6.12."""
    locks = results.set_index(["work", "release", "seed"])["zone_lock_per_1000"]
    for seed in upgrade.SEEDS:
        for work in upgrade.WORKLOADS:
            oldest, middle, newest = (locks[work, release, seed] for release in upgrade.RELEASES)
            assert oldest > 3 * max(middle, newest), (work, seed)
        assert locks["churn", "6.12", seed] < locks["churn", "6.1", seed]
        assert locks["fork-exit", "6.12", seed] > 10 * locks["fork-exit", "6.1", seed]


def test_small_blocks_of_another_type_make_fallbacks_and_these_take_time(results: pd.DataFrame) -> None:
    rows = results.set_index(["work", "release", "seed"])
    for seed in upgrade.SEEDS:
        for release in upgrade.RELEASES:
            assert all(rows.loc[(work, release, seed), "fallbacks_per_1000"] == 0 for work in upgrade.WORKLOADS)
            works = (upgrade.FALLING_BACK, "mixed-server")
            with_fallbacks, without = (rows.loc[(work, release, seed)] for work in works)
            assert with_fallbacks["fallbacks_per_1000"] > 1
            assert with_fallbacks["kernel_pageblocks"] > 500  # there was none before
            assert with_fallbacks["mean_ns"] > 1.3 * without["mean_ns"]


def test_readme_says_that_vmalloc_waits_ever_less(results: pd.DataFrame) -> None:
    waits = upgrade.medians(results)["lock_wait_percent"]["vmalloc-churn"]
    assert waits["5.10"] > waits["6.1"] > waits["6.12"]


@pytest.mark.slow
def test_a_point_comes_out_as_in_results(results: pd.DataFrame) -> None:
    for release in upgrade.RELEASES:
        row = pd.DataFrame([upgrade.row_of("fork-exit", release, 1)])
        at = (results["work"] == "fork-exit") & (results["release"] == release) & (results["seed"] == 1)
        assert at.sum() == 1
        pd.testing.assert_frame_equal(row, results[at].reset_index(drop=True), rtol=1e-5)
