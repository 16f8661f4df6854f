"""How a study's progress is told: nothing is promised before a run was computed, and never by dividing by nothing."""

import pytest

from kmsim.session import pace
from kmsim.study.campaign import Counts


def test_the_pace_is_that_since_the_first_computed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([130.0, 131.0, 132.0])  # the first run took two minutes, most of them to compile
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    told = pace.Pace()
    counts = Counts(total=9, running=2, seconds_left=9.0)
    assert told.line(counts) == "0 of 9 runs done, 2 running"
    counts.done, counts.seconds_left, counts.seconds_done = 1, 8.0, 1.0
    assert told.line(counts) == "1 of 9 runs done, 2 running"
    counts.done, counts.seconds_left, counts.seconds_done = 3, 6.0, 3.0
    assert told.line(counts) == "3 of 9 runs done, 2 running, 1.0 runs/s, about 6 s left"


def test_equal_runs_that_are_computed_once_promise_nothing() -> None:
    told = pace.Pace()
    for done in (1, 2, 3):
        counts = Counts(total=3, done=done, seconds_done=1.0)
        assert told.line(counts) == f"{done} of 3 runs done, 0 running"


def test_reused_and_failed_runs_are_told() -> None:
    assert pace.Pace().line(Counts(total=5, done=3, reused=3, failed=1)) == (
        "3 of 5 runs done, 0 running, 1 failed, 3 reused"
    )
