"""What a reader of a study must know before its numbers, in sentences: the terminal and the report say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kmsim.text import nr_of

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult

NAMED_MAX = 10  # points, in a sentence
ONE_SEED = "one replication is no result: how far other seeds are from it is not known"
SERVED_ONLY = "latencies are of the requests that were served: where other shares failed, they do not compare"


def cautions(study: StudyResult) -> list[str]:
    """All that holds of a study, what weighs most first."""
    said = [one_seed(study), stuck(study), imprecise(study)]
    return [*filter(None, said), *([SERVED_ONLY] if some_failed(study.estimates) else [])]


def one_seed(study: StudyResult) -> str:
    """That there are no replications and no batches; empty where there are."""
    is_one = study.runs["replication"].nunique() == 1 and not (study.responses["batch"] >= 0).any()
    return ONE_SEED if is_one else ""


def stuck(study: StudyResult) -> str:
    """Of how many runs the machine could not go on."""
    count = int((study.runs["stuck"] != "").sum())
    left_out = f"left out of all that follows: {nr_of(count, 'run')} in which the simulated machine could not go on"
    return left_out if count else ""


def imprecise(study: StudyResult) -> str:
    """At which points replications stopped at the limit, and not because the interval was narrow enough."""
    points = study.imprecise
    named = ", ".join(map(str, points[:NAMED_MAX])) + (", ..." if len(points) > NAMED_MAX else "")
    return f"less precise than asked for, at the most replications: {named}" if points else ""


def some_failed(rows: pd.DataFrame) -> bool:
    """Did a share of the requests fail in any row that is of those that did not, at either end of a difference?"""
    return bool((rows[rows.columns.intersection(["baseline_failed_share", "failed_share"])] > 0).any(axis=None))


def primary_first(study: StudyResult, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the primary response before all others, which keep their order."""
    primary = [response.name for response in study.responses_config if response.primary]
    is_primary = rows["response"].isin(primary)
    return pd.concat([rows[is_primary], rows[~is_primary]]) if is_primary.any() else rows
