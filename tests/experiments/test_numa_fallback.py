"""Who pays when a node fills: README says what the results say, and the points come out as they stand there."""

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load
from tests.experiments.test_experiments import script

numa_fallback = script("numa_fallback")


def test_readme_says_what_results_say() -> None:
    readme = numa_fallback.README.read_text(encoding="utf-8")
    results = pd.read_csv(numa_fallback.RESULTS)
    assert fill_numbers(readme, numa_fallback.numbers(results)) == readme
    assert fill_numbers(readme, numa_fallback.numbers(results.assign(mean_ns=2 * results["mean_ns"]))) != readme


def test_the_config_and_the_figure_are_there() -> None:
    assert load(numa_fallback.STUDY).name == numa_fallback.STUDY.stem
    assert numa_fallback.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_results_have_every_point_and_node() -> None:
    results = pd.read_csv(numa_fallback.RESULTS)
    wanted = [(*point, node) for point in numa_fallback.POINTS for node in numa_fallback.NODES]
    assert list(results[["page_kib", "policy", "share", "node"]].itertuples(index=False, name=None)) == wanted
    assert not results.isna().any(axis=None)


def test_what_the_sentences_rest_on() -> None:
    """A full node costs its own CPUs; interleaving spares them; strict requests fail only where a node is full."""
    results = pd.read_csv(numa_fallback.RESULTS).set_index(["page_kib", "policy", "share", "node"])
    least, most = numa_fallback.SHARES[0], numa_fallback.SHARES[-1]
    for page in numa_fallback.ARCHS:
        for policy in numa_fallback.POLICIES:
            for node in numa_fallback.NODES:
                row = results.loc[(page, policy, least, node)]
                assert row["off_node_percent"] == row["strict_failed_percent"] == 0
        local, spared = results.loc[(page, "local", most, 0)], results.loc[(page, "interleave", most, 0)]
        assert local["off_node_percent"] > spared["off_node_percent"]
        assert local["strict_failed_percent"] > spared["strict_failed_percent"]
        assert local["mean_ns"] > spared["mean_ns"]


def test_a_point_fills_what_it_says() -> None:
    study = numa_fallback.study_of(64, "interleave", 150)
    filler, *servers = study.workload.threads
    assert filler.operations * study.machine.page_size == 3 << 29
    assert filler.memory_policy.nodes == (0, 1)
    assert [server.live for server in servers] == [125, 125]


@pytest.mark.slow
def test_a_point_comes_out_as_in_results() -> None:
    results = pd.read_csv(numa_fallback.RESULTS)
    page, policy, share = point = numa_fallback.POINTS[1]
    at = (results["page_kib"] == page) & (results["policy"] == policy) & (results["share"] == share)
    assert at.sum() == len(numa_fallback.NODES)
    expected = results[at].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(numa_fallback.rows_of(*point)), expected, rtol=1e-5)
