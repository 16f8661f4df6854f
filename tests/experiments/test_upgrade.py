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


# What README says, as measures of a workload from the least to the most, by release.
CLAIMS = [
    ("fork-exit", "zone_lock_per_1000", ("6.1", "6.12", "5.10")),
    ("churn", "zone_lock_per_1000", ("6.12", "6.1", "5.10")),
    ("churn", "zone_lock_hold_max_ns", ("6.1", "6.12")),
    ("churn", "lock_wait_percent", ("6.1", "6.12")),
    ("fork-exit", "mean_ns", ("6.1", "5.10", "6.12")),
    *(("net-rx", "p999_ns", (newer, "5.10")) for newer in ("6.1", "6.12")),
    *(("mixed-server", "lock_wait_percent", (newer, "5.10")) for newer in ("6.1", "6.12")),
    *(("mixed-server", "mean_ns", (newer, "5.10")) for newer in ("6.1", "6.12")),
    ("vmalloc-churn", "mean_ns", ("6.12", "6.1", "5.10")),
    ("vmalloc-churn", "lock_wait_percent", ("6.12", "6.1")),
    ("vmalloc-churn", "lock_wait_percent", ("6.12", "5.10")),
    *((work, "zone_lock_per_1000", (newer, "5.10")) for work in upgrade.WORKLOADS for newer in ("6.1", "6.12")),
]


@pytest.mark.parametrize(("work", "measure", "releases"), CLAIMS)
def test_what_readme_says_holds_for_every_seed(
    results: pd.DataFrame, work: str, measure: str, releases: tuple[str, ...]
) -> None:
    values = results.set_index(["work", "release", "seed"])[measure]
    for seed in upgrade.SEEDS:
        found = [values[work, release, seed] for release in releases]
        assert found == sorted(set(found)), seed


@pytest.mark.slow
def test_a_point_comes_out_as_in_results(results: pd.DataFrame) -> None:
    for release in upgrade.RELEASES:
        row = upgrade.row_of("fork-exit", release, 1)
        at = (results["work"] == "fork-exit") & (results["release"] == release) & (results["seed"] == 1)
        (stored,) = results[at].to_dict("records")
        assert row == pytest.approx(stored, rel=1e-5)
