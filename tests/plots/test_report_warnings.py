"""What the page of a result says before its numbers: warnings, and the primary response first."""

from kmsim.config.inquiry import UntilConfig
from kmsim.config.responses import ResponseConfig
from kmsim.plots.report import report_html
from kmsim.study.cautions import ONE_SEED, SERVED_ONLY, stuck
from tests.plots.report_studies import study_result
from tests.plots.test_report import data_of


def test_what_must_be_known_before_the_numbers_is_said() -> None:
    """As in a terminal: one seed, what stopped at the limit, latencies of other shares that failed."""
    study = study_result()
    some_failed = study.responses.assign(failed_share=12.5)
    assert data_of(report_html(study))["warnings"] == [stuck(study)]
    assert data_of(report_html(study_result(responses=some_failed)))["warnings"] == [stuck(study), SERVED_ONLY]
    first = study.runs[study.runs["replication"] == 0]
    alone = study_result(runs=first, responses=study.responses[study.responses["run"].isin(first["run"])])
    assert data_of(report_html(alone))["warnings"] == [ONE_SEED]
    until = UntilConfig.model_construct(response="alloc_mean", half_width=1e-9, at_most=3)
    replications = study.inquiry.replications.model_copy(update={"until": until})
    limited = study_result(inquiry=study.inquiry.model_copy(update={"replications": replications}))
    assert limited.imprecise == [1, 2]
    assert "less precise than asked for, at the most replications: 1, 2" in data_of(report_html(limited))["warnings"]


def test_the_primary_response_comes_first() -> None:
    study = study_result()
    responses = [ResponseConfig(measure="latency_mean", name="alloc_p999", primary=True)]
    data = data_of(report_html(study_result(inquiry=study.inquiry.model_copy(update={"responses": tuple(responses)}))))
    assert "primary response: alloc_p999" in data["facts"]
    for name, nr_first in (("comparisons", 2), ("estimates", 4)):
        (column,) = [one for one in data["tables"][name]["columns"] if one["heading"] == "response"]
        values = column["values"]
        assert values[:nr_first] == ["alloc_p999"] * nr_first
        assert "alloc_p999" not in values[nr_first:]
        assert len(set(values)) == 3
