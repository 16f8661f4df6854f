"""An axis has a column of its name in the tables of a study's results: no other column may have that name."""

from kmsim.config.axes import COLUMNS
from kmsim.study.collect import RUNS, TABLES
from kmsim.study.estimates import COMPARED, DIFFERENCE, OUTCOMES


def test_no_axis_can_be_named_like_another_column() -> None:
    assert {*RUNS, *TABLES["responses"], *COMPARED, *DIFFERENCE, *OUTCOMES} <= set(COLUMNS)
