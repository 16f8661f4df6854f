"""Two results, each of a run or of a study: what differs between them, and is the second one worse?

Points are matched by the labels of the axes that both have; an axis that one of them has alone must have a single
level there. Both become one study with one more axis, the *side*, and what is said of its levels is what
`kmsim.study.estimates` says of any: differences B - A, with intervals by t and by bootstrap, Holm within each response.

Runs are paired by replication where equal replications have equal seeds at all points; otherwise they have nothing
in common, and the intervals are Welch's. Batches of single runs are paired likewise.

*Worse by more than a bound*: of a response whose measure has a direction (`Measure.worse`), the difference B - A,
turned so that worse is positive, over |mean of A| is its worsening. A row is worse where the lower end of the 95 %
interval of the worsening is above the bound; where there is no interval (n = 1), where the worsening itself is.
The mean of A counts as known there. Where it is 0, any worsening is above every bound. A difference within the
model's error is not called worse: it may be one of prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.config.inquiry import ComparisonConfig, FigureConfig, Inquiry
from kmsim.config.product import Axis
from kmsim.config.responses import MEASURES, ResponseConfig
from kmsim.study.collect import TABLES, response_rows
from kmsim.study.differing import Differing, differing
from kmsim.study.estimates import DIFFERENCE, count_runs
from kmsim.study.results import StudyResult
from kmsim.study.store import NotAResult

NAME = "comparison"
NAMED_MAX = 8  # things that a message names
ROW = ("response", "unit", *DIFFERENCE)


class Bounds(NamedTuple):
    """By how much of A's mean a response may be worse: of all, or None, and of some by name."""

    of_all: float | None = None
    by_response: Mapping[str, float] = {}

    def of(self, response: str) -> float | None:
        """The bound of a response, if it has one."""
        return self.by_response.get(response, self.of_all)


@dataclass(frozen=True)
class Compared:
    """The result of a comparison."""

    differing: tuple[Differing, ...]
    paired: bool
    both: StudyResult  # the matched runs of both sides as one study, whose one comparison is B against A
    rows: pd.DataFrame  # shared axes, `ROW`, worsening, worsening_low, bound, worse
    notes: tuple[str, ...]
    stuck: tuple[str, ...]  # those of the notes that say that a simulated machine could not go on

    @property
    def axes(self) -> list[str]:
        """The axes by which points were matched."""
        return [axis.name for axis in self.both.axes[1:]]

    @property
    def worse(self) -> pd.DataFrame:
        """The rows that are worse by more than their bounds."""
        return self.rows[self.rows["worse"]]

    @property
    def excused(self) -> pd.DataFrame:
        """The rows that would be worse by more than their bounds, were the difference not within the model's error."""
        return self.rows[_is_over(self.rows) & self.rows["within_model_error"].astype(bool)]

    @property
    def judged(self) -> pd.DataFrame:
        """The rows that have a bound."""
        return self.rows[self.rows["bound"].notna()]

    @property
    def is_judged(self) -> bool:
        """Is there a row with a bound that has values on both sides, and none that has values in A only?"""
        return bool((self.judged["n"] > 0).any()) and self.lost.empty

    @property
    def lost(self) -> pd.DataFrame:
        """The rows with a bound that have values in A and none in B."""
        values, side = self.both.responses, self.both.axes[0]
        values = values[values["value"].notna()]
        counted = self.both.runs[count_runs(self.both.runs)]
        there = values.merge(counted[["run", side.name, *self.axes]], on="run")
        keys = ["response", *self.axes]
        found = [set(map(tuple, there.loc[there[side.name] == name, keys].to_numpy())) for name in side.levels]
        alone = found[0] - found[1]
        is_lost = [tuple(row) in alone for row in self.judged[keys].to_numpy()]
        return self.judged[np.array(is_lost, bool)]


def compare(a: StudyResult, b: StudyResult, bounds: Bounds = Bounds()) -> Compared:  # noqa: B008
    """Compare B with A; NotAResult where they have nothing in common."""
    a, b = _asking(a, b), _asking(b, a)
    responses, notes = _shared_responses(a, b)
    _check_bounds(bounds, responses)
    axes = _shared_axes(a, b)
    points = _matched(a, b, axes)
    notes += _unmatched(a, b, len(points))
    runs = _runs_of_both(a, b, points)
    paired, note = _seeds_agree(runs)
    values = _values_of_both(a, b, runs)
    sides = _sides(a, b)
    both = _one_study((a, b), sides, (runs, values), axes, responses, paired=paired)
    failed, stuck = _said_of_runs(runs)
    notes += [note, *failed, *stuck]
    config_a, config_b = _configs(a, b, points)
    found = differing(a, b, config_a, config_b)
    return Compared(found, paired, both, _rows(both, responses, bounds), tuple(filter(None, notes)), tuple(stuck))


# ---- what both have


def _asking(study: StudyResult, other: StudyResult) -> StudyResult:
    """The study itself; a plain run gets its responses computed as the other study defines them."""
    if study.result is None or other.result is not None:
        return study
    configs = other.responses_config
    values = (
        response_rows(study.result, configs).frame().assign(run=0, point=0, replication=0)[list(TABLES["responses"])]
    )
    asked = study.inquiry.model_copy(update={"responses": configs})
    return replace(study, responses=values, inquiry=asked)


def _shared_responses(a: StudyResult, b: StudyResult) -> tuple[tuple[ResponseConfig, ...], list[str]]:
    """The responses that both define alike under one name; and remarks on the others."""
    asked = {response.name: response for response in b.responses_config}
    alike = tuple(response for response in a.responses_config if asked.get(response.name) == response)
    names = {response.name for response in alike}
    rest = [r.name for r in (*a.responses_config, *b.responses_config) if r.name not in names]
    other = list(dict.fromkeys(rest))
    if not alike:
        raise NotAResult(f"{_place(a)} and {_place(b)}: must have a response in common; they have {_some(other)}")
    left_out = (
        [f"left out: responses that only one has, or that mean different things: {_some(other)}"] if other else []
    )
    return alike, left_out


def _check_bounds(bounds: Bounds, responses: Sequence[ResponseConfig]) -> None:
    directed = [response.name for response in responses if MEASURES[response.measure].worse]
    for name in bounds.by_response:
        if name not in directed:
            raise NotAResult(
                f"--worse-by {name}: must name a response that both have and of which more or less is worse: "
                f"{_some(directed) or 'there is none'}"
            )


def _shared_axes(a: StudyResult, b: StudyResult) -> list[str]:
    """The axes that both have; NotAResult names one of several levels that only one has."""
    names = [[axis.name for axis in study.axes] for study in (a, b)]
    for study, mine, others in ((a, names[0], names[1]), (b, names[1], names[0])):
        for name in mine:
            nr_levels = study.runs[name].nunique()
            if name not in others and nr_levels > 1:
                raise NotAResult(
                    f"{_place(study)}: must have the axes of the other result, or one level of them; "
                    f"it alone has {name[:60]!r}, with {nr_levels} levels"
                )
    return [name for name in names[0] if name in names[1]]


def _points(study: StudyResult, axes: list[str]) -> pd.DataFrame:
    return study.runs.drop_duplicates("point")[["point", *axes]]


def _matched(a: StudyResult, b: StudyResult, axes: list[str]) -> pd.DataFrame:
    """The points of equal labels: `number`, point_a, point_b, and the axes."""
    sides = [_points(study, axes).rename(columns={"point": name}) for study, name in ((a, "point_a"), (b, "point_b"))]
    how: Any = {"on": axes} if axes else {"how": "cross"}
    points = sides[0].merge(sides[1], **how, sort=False)
    if points.empty:
        labels = [", ".join(map(str, side[axes].iloc[0])) for side in sides]
        raise NotAResult(
            f"{_place(a)} and {_place(b)}: must have a point in common, equal labels of {_some(axes)}; "
            f"the first has {labels[0][:80]}, the second {labels[1][:80]}"
        )
    points.insert(0, "number", np.arange(len(points)))
    return points


def _unmatched(a: StudyResult, b: StudyResult, nr_matched: int) -> list[str]:
    found = []
    for name, study in (("A", a), ("B", b)):
        alone = study.runs["point"].nunique() - nr_matched
        if alone:
            points = "1 point" if alone == 1 else f"{alone:,} points"
            found.append(f"left out: {points} that only {name} has")
    return found


# ---- both as one study


def _runs_of_both(a: StudyResult, b: StudyResult, points: pd.DataFrame) -> pd.DataFrame:
    """The runs of matched points: of A at even points, of B at odd ones; `was`: the run's number on its side."""
    parts = []
    for side, (study, name) in enumerate(((a, "point_a"), (b, "point_b"))):
        number = dict(zip(points[name], points["number"], strict=True))
        runs = study.runs[study.runs["point"].isin(number)]
        parts.append(runs.assign(side=side, was=runs["run"], point=2 * runs["point"].map(number) + side))
    runs = pd.concat(parts, ignore_index=True)
    return runs.assign(run=np.arange(len(runs)))


def _seeds_agree(runs: pd.DataFrame) -> tuple[bool, str]:
    """Can the runs be paired by their seeds? If not, also a remark that says why."""
    keys = runs.assign(pair=runs["point"] // 2)[["pair", "replication", "seed", "side"]]
    pairs = keys[keys["side"] == 0].merge(keys[keys["side"] == 1], on=["pair", "replication"])
    agree = len(pairs) > 0 and bool((pairs["seed_x"] == pairs["seed_y"]).all())
    if agree:
        return True, "runs are paired by replication and equal seed"
    return False, "seeds do not match: runs are not paired, intervals are Welch's"


def _values_of_both(a: StudyResult, b: StudyResult, runs: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for side, study in enumerate((a, b)):
        of_side = runs[runs["side"] == side].set_index("was")
        values = study.responses[study.responses["run"].isin(of_side.index)]
        moved = {name: values["run"].map(of_side[name]) for name in ("point", "run")}
        parts.append(values.assign(**moved))
    values = pd.concat(parts, ignore_index=True)
    by_batches = all((part["batch"] >= 0).any() for part in parts)
    one_each = runs.loc[count_runs(runs), "point"].value_counts().eq(1).all()
    return values if by_batches and one_each else values[values["batch"] < 0].reset_index(drop=True)


def _sides(a: StudyResult, b: StudyResult) -> tuple[str, str]:
    """The names of the two sides: those of their folders, or A and B."""
    names = [study.path.resolve().name if study.path is not None else "" for study in (a, b)]
    return (names[0], names[1]) if all(names) and names[0] != names[1] else ("A", "B")


def _one_study(
    studies: tuple[StudyResult, StudyResult],
    sides: tuple[str, str],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    axes: list[str],
    responses: tuple[ResponseConfig, ...],
    *,
    paired: bool,
) -> StudyResult:
    runs, values = tables
    name = "side"
    while name in axes:
        name += "_"
    column = runs["side"].map(dict(enumerate(sides)))
    runs = runs.drop(columns=["side", "was"]).assign(**{name: column})
    of_axes = [_narrowed(axis, runs) for axis in studies[0].axes if axis.name in axes]
    title = f"What changes from {sides[0]} to {sides[1]}?"
    inquiry = Inquiry.model_construct(
        question=title,
        responses=responses,
        comparisons=(ComparisonConfig(axis=name, name=NAME, baseline=sides[0], paired=paired),),
        figures=(FigureConfig(kind="forest", name=NAME, title=title[:200], comparison=NAME, size="page"),),
    )
    # Responses are in the order of A's study, whichever run came first.
    place = {response.name: n for n, response in enumerate(responses)}
    values = values[values["response"].isin(place)]
    values = values.iloc[np.argsort(values["response"].map(place).to_numpy(), kind="stable")].reset_index(drop=True)
    side = Axis(name, sides, None, "")
    study = studies[0]
    return StudyResult(None, NAME, study.seed, {}, "", inquiry, (side, *of_axes), (), runs, values)


def _narrowed(axis: Axis, runs: pd.DataFrame) -> Axis:
    there = set(runs[axis.name])
    kept = [k for k, level in enumerate(axis.levels) if level in there]
    values = None if axis.values is None else tuple(axis.values[k] for k in kept)
    return axis._replace(levels=tuple(axis.levels[k] for k in kept), values=values)


def _said_of_runs(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Which runs are left out: those that failed, those that got stuck."""
    that_failed: list[str] = []
    that_stuck: list[str] = []
    for side, name in enumerate("AB"):
        of_side = runs[runs["side"] == side]
        failed, stuck = int(of_side["failed"].sum()), int((of_side["stuck"] != "").sum())
        that_failed += [f"left out: runs of {name} that failed: {failed:,}"] if failed else []
        stuck_runs = f"left out: runs of {name} in which the simulated machine could not go on: {stuck:,}"
        that_stuck += [stuck_runs] if stuck else []
    return that_failed, that_stuck


def _configs(a: StudyResult, b: StudyResult, points: pd.DataFrame) -> tuple[str, str]:
    """The resolved configs of a run of each at the first point where both have one; empty if there is no such point."""
    first = [study.runs[~study.runs["failed"]].drop_duplicates("point").set_index("point")["run"] for study in (a, b)]
    for point_a, point_b in zip(points["point_a"], points["point_b"], strict=True):
        if point_a in first[0].index and point_b in first[1].index:
            of_a, of_b = a.run(int(first[0][point_a])), b.run(int(first[1][point_b]))
            return of_a.config_yaml, of_b.config_yaml
    raise NotAResult(f"{_place(a)} and {_place(b)}: must have a point in common whose runs did not fail")


# ---- the rows


def _rows(both: StudyResult, responses: Sequence[ResponseConfig], bounds: Bounds) -> pd.DataFrame:
    """The comparison's rows, with what is worse."""
    rows = both.comparisons[[*(axis.name for axis in both.axes[1:]), *ROW]].copy()
    ways = {response.name: MEASURES[response.measure].worse for response in responses}
    sign = rows["response"].map({name: {"higher": 1.0, "lower": -1.0}.get(way, np.nan) for name, way in ways.items()})
    turned_low = np.where(sign > 0, rows["ci_low"], -rows["ci_high"])
    base = rows["baseline_mean"].abs()
    rows["worsening"] = _share(sign * rows["difference"], base)
    rows["worsening_low"] = _share(pd.Series(turned_low, rows.index).where(sign.notna()), base)
    rows["bound"] = rows["response"].map({name: bounds.of(name) for name in ways}).astype(float).where(sign.notna())
    rows["worse"] = _is_over(rows) & ~rows["within_model_error"].astype(bool)
    return rows


def _is_over(rows: pd.DataFrame) -> pd.Series[bool]:
    """Is the worsening above its bound? Of n = 1 there is no interval: the difference itself decides."""
    decides = rows["worsening_low"].where(rows["ci_low"].notna(), rows["worsening"])
    return decides > rows["bound"]


def _share(worsening: pd.Series, base: pd.Series) -> pd.Series:
    """The worsening relative to A's mean; around a mean of 0, it is 0 or infinite."""
    of_nothing = np.sign(worsening).map({1.0: np.inf, -1.0: -np.inf, 0.0: 0.0})
    return (worsening / base.where(base > 0)).where(base != 0, of_nothing) + 0.0  # no -0


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED_MAX else ""
    return ", ".join(name[:60] for name in names[:NAMED_MAX]) + more


def _place(study: StudyResult) -> Path | str:
    return study.path if study.path is not None else study.name
