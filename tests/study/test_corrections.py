"""Differences that many tests show by chance, and those that they must not hide."""

import numpy as np
import pandas as pd
import pytest

from kmsim.study.estimates import same_everywhere
from tests.study.test_estimates import PAGES, Tables, collected, compare


def test_a_response_that_is_the_same_everywhere_is_not_tested_and_costs_the_others_nothing() -> None:
    tables = collected()
    of_waste = tables.responses["response"] == "waste"
    constant = Tables(tables.runs, tables.responses.assign(value=tables.responses["value"].mask(of_waste, 7.0)))
    found = compare(constant, {"axis": "page_size"})
    same = found["response"] == "waste"
    assert found.loc[same, "p_holm"].isna().all()
    assert not found.loc[same, "significant"].any()
    assert same_everywhere(found).tolist() == same.tolist()
    alone = compare(collected(), {"axis": "page_size", "responses": ["latency"]})
    assert found.loc[~same, "p_holm"].tolist() == alone["p_holm"].tolist()


def test_a_large_difference_of_one_response_is_not_hidden_by_many_others() -> None:
    """One of +66 %, n = 4, beside 100 responses that differ by chance alone."""
    tables = collected(axes=(PAGES,))
    rows = tables.responses[tables.responses["response"] == "latency"]
    rng = np.random.default_rng(3)
    noise = [rows.assign(response=f"r{k}", value=100 + rng.normal(size=len(rows))) for k in range(100)]
    worse = rows.assign(value=100 + 66 * (rows["point"] > 0) + rng.normal(scale=5, size=len(rows)))
    found = compare(Tables(tables.runs, pd.concat([worse, *noise])), {"axis": "page_size"}, axes=(PAGES,))
    assert found.loc[found["response"] == "latency", "significant"].all()


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True], ids=["Welch", "paired"])
def test_within_a_response_at_most_one_null_study_of_twenty_shows_a_difference(paired: bool) -> None:
    shown = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        tables = collected(axes=(PAGES,))
        rows = tables.responses[tables.responses["response"] == "latency"]
        null = Tables(tables.runs, rows.assign(value=rng.normal(size=len(rows))))
        shown += bool(compare(null, {"axis": "page_size", "paired": paired}, axes=(PAGES,))["significant"].any())
    assert 0 < shown <= 20  # the seeds are fixed: 15 of both
