"""The design of a study: its axes and levels, its points, those that are dropped and why.

A point is one level of each axis; it has the number of its place in the product of all axes, the last
axis fastest, whether or not points before it are dropped. Its config is the file's, with the levels'
values laid over it, resolved by the door like a config of its own. With common random numbers,
replication r of every point has the seed of the study plus r.

Invariant: equal files, overrides and seed give an equal design; the points' configs are made when asked
for, since a design may have a million of them.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kmsim.config.absolute import with_absolute_axes, with_absolute_paths
from kmsim.config.axes import AxisConfig, label_of, number_of, quantity_of
from kmsim.config.axis_keys import RUN_KEYS, key_findings
from kmsim.config.door import Base, base_of_file, base_of_mapping, checked_inquiry, resolved
from kmsim.config.errors import ConfigError
from kmsim.config.extends import Includes
from kmsim.config.inquiry import RUNS_MAX, Bounds, DropConfig, Inquiry, Where
from kmsim.config.moved_keys import moved_findings, movers, overridden_sets
from kmsim.config.node import Node, Problems, scalar
from kmsim.config.overrides import key_steps, laid
from kmsim.config.quantities import INT_MAX, finding
from kmsim.config.study import Study
from kmsim.config.validation import add_finding

SEED_BITS = 62
LEFT_OUT = "not among sweep.only"


class Axis(NamedTuple):
    """An axis as tables and figures see it: labels of its points' levels in order; their numbers, if all have one."""

    name: str
    levels: tuple[str, ...]
    values: tuple[float, ...] | None
    unit: str  # of the values: "B", "ns" or none


class Level(NamedTuple):
    """What one level lays over the config: a value for each dotted key."""

    label: str
    sets: tuple[tuple[str, Node], ...]
    covariates: tuple[tuple[str, str], ...] = ()  # where a level moves several keys: the label of each value


class Point(NamedTuple):
    """One combination of levels."""

    number: int
    labels: dict[str, str]  # by axis
    covariates: dict[str, str]  # by key, of axes that move several


class Dropped(NamedTuple):
    """A combination that is not run, and why."""

    number: int
    labels: dict[str, str]
    reason: str


@dataclass(frozen=True)
class Design:
    """A study's points, and what it asks of them."""

    base: Base
    inquiry: Inquiry
    axes: tuple[Axis, ...]
    levels: tuple[tuple[Level, ...], ...]  # by axis
    points: tuple[Point, ...]
    dropped: tuple[Dropped, ...]

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.base.node.keys["name"].value)

    @property
    def seed(self) -> int:
        """The study's seed."""
        node = self.base.node.keys.get("seed")
        return int(node.value) if node is not None and isinstance(node.value, int) else 1

    @property
    def is_single(self) -> bool:
        """Is it a plain config: one run, without a sweep, responses or figures?"""
        return self.base.asked.keys.keys() <= {"question"}

    @property
    def nr_runs(self) -> int:
        """Runs, at most."""
        return len(self.points) * self.inquiry.replications.most

    def narrowed(self, only: Mapping[str, Sequence[str]], replications: int) -> "Design":
        """The same study with points of these levels only, and that number of replications."""
        whole = _whole(self)
        if not only:
            return design_of(whole | {"replications": replications})
        sweep = whole["sweep"] | {"only": {name: list(labels) for name, labels in only.items()}}
        return design_of(whole | {"sweep": sweep, "replications": replications})

    def study_of(self, point: Point, replication: int = 0) -> Study:
        """The resolved config of one run; only the first replication keeps a map of memory."""
        problems = Problems()
        study = resolved(self._node(point.number, problems), self.base.includes, problems)
        seed = self.seed_of(point, replication)
        run = study.run if replication == 0 else study.run.model_copy(update={"memory_map": 0})
        return study.model_copy(update={"seed": seed, "run": run})

    def seed_of(self, point: Point, replication: int) -> int:
        """The seed of one run."""
        if self.inquiry.replications.random_numbers == "common":
            return self.seed + replication
        words = np.random.SeedSequence([self.seed, point.number, replication]).generate_state(1, np.uint64)
        return int(words[0]) >> (64 - SEED_BITS)

    def _node(self, number: int, problems: Problems) -> Node:
        """The config of a point, its levels laid over the file's."""
        node = self.base.node
        for levels, index in zip(self.levels, self.indices(number), strict=True):
            for key, value in levels[index].sets:
                node = laid(node, key, value, problems)
        return node

    def indices(self, number: int) -> tuple[int, ...]:
        """Which level of each axis a point has."""
        sizes = [len(levels) for levels in self.levels]
        return tuple(int(index) for index in np.unravel_index(number, sizes)) if sizes else ()


def load_design(path: str | os.PathLike[str], sets: Iterable[str] = (), seed: int | None = None) -> Design:
    """The design in a study's file; ConfigError says everything that is wrong with it."""
    return _design(base_of_file(path, sets, seed))


def design_of(config: Mapping[str, Any], sets: Iterable[str] = (), seed: int | None = None) -> Design:
    """The design in a mapping of the same keys."""
    return _design(base_of_mapping(config, sets, seed))


def _design(base: Base) -> Design:
    problems = base.new_problems()
    inquiry = checked_inquiry(base, problems)
    for unknown in key_findings(inquiry.sweep):
        add_finding(unknown, base.asked, problems)
    nr_runs = inquiry.sweep.nr_combinations * inquiry.replications.most
    if nr_runs > RUNS_MAX:
        found = f"{inquiry.sweep.nr_combinations:,} points, {nr_runs:,} runs"
        add_finding(finding(("sweep",), "runs_most", found=found, limit=f"{RUNS_MAX:,}"), base.asked, problems)
    seed = base.node.keys.get("seed")
    last = INT_MAX - inquiry.replications.most + 1
    if seed is not None and isinstance(seed.value, int) and last < seed.value <= INT_MAX:
        add_finding(finding(("seed",), "at_most", limit=last), base.node, problems)
    problems.stop()
    described = zip(inquiry.sweep.axes, _axis_nodes(base.asked), strict=True)
    levels = tuple(tuple(_levels(axis, node, base.includes, problems)) for axis, node in described)
    _check_moved(base, inquiry, levels, problems)
    axes = tuple(_axis(axis.title, of_axis) for axis, of_axis in zip(inquiry.sweep.axes, levels, strict=True))
    for unknown in inquiry.level_findings({axis.name: axis.levels for axis in axes}):
        add_finding(unknown, base.asked, problems)
    problems.stop()
    design = Design(base, inquiry, axes, levels, (), ())
    points, dropped = _sorted_out(design)
    shown = tuple(_of_points(axis, points) for axis in axes)
    return Design(base, inquiry, shown, levels, tuple(points), tuple(dropped))


def _check_moved(base: Base, inquiry: Inquiry, levels: tuple[tuple[Level, ...], ...], problems: Problems) -> None:
    """Note every key that is moved in two ways."""
    axes = inquiry.sweep.axes
    of_axes = movers(axes, [[(level.label, level.sets) for level in of_axis] for of_axis in levels], base.includes)
    for twice in moved_findings(axes, of_axes, base.asked):
        add_finding(twice, base.asked, problems)
    overridden_sets(of_axes, base.overrides, problems)


def _axis_nodes(asked: Node) -> list[Node]:
    sweep = asked.keys.get("sweep")
    axes = sweep.keys.get("axes") if sweep is not None else None
    return axes.items if axes is not None else []


def _levels(axis: AxisConfig, node: Node, includes: Includes, problems: Problems) -> Iterator[Level]:
    """The levels of an axis; each value stands where the user wrote it, or where the axis stands."""
    way = axis.way
    at = node.place
    if way == "values":
        for value in node.keys["values"].items:
            yield Level(label_of(value.value), ((str(axis.key), value),))
    elif way in ("range", "log"):
        between = axis.range or axis.log
        assert between is not None
        for number in between.values():
            yield Level(label_of(number), ((str(axis.key), scalar(number, at)),))
    elif way == "zip":
        keys = list(node.keys["zip"].keys)
        for values in zip(*(node.keys["zip"].keys[key].items for key in keys), strict=True):
            covariates = tuple((key, label_of(value.value)) for key, value in zip(keys, values, strict=True))
            label = ", ".join(label for _, label in covariates)
            yield Level(label, tuple(zip(keys, values, strict=True)), covariates)
    elif way == "variants":
        for label, variant in node.keys["variants"].keys.items():
            moved = includes.variant(variant, problems).keys.items()
            yield Level(label, tuple(item for item in moved if key_steps(item[0])[0] in RUN_KEYS))
    else:
        sample = axis.latin_hypercube or axis.sobol
        assert sample is not None
        assert way is not None
        for n, row in enumerate(sample.rows(way)):
            sets = tuple((key, scalar(value, at)) for key, value in row.items())
            yield Level(str(n), sets, tuple((key, label_of(value)) for key, value in row.items()))


def _axis(name: str, levels: tuple[Level, ...]) -> Axis:
    labels = tuple(level.label for level in levels)
    numbers = [number_of(label) for label in labels]
    units = {number[1] for number in numbers if number is not None}
    if None in numbers or len(units) > 1 or any(level.covariates for level in levels):
        return Axis(name, labels, None, "")
    return Axis(name, labels, tuple(number[0] for number in numbers if number is not None), *units)


def _of_points(axis: Axis, points: Sequence[Point]) -> Axis:
    """The axis with the levels that any point has: of the others there is nothing to be shown."""
    there = {point.labels[axis.name] for point in points}
    kept = [k for k, level in enumerate(axis.levels) if level in there]
    values = None if axis.values is None else tuple(axis.values[k] for k in kept)
    return axis._replace(levels=tuple(axis.levels[k] for k in kept), values=values)


def _sorted_out(design: Design) -> tuple[list[Point], list[Dropped]]:
    """Every combination, as a point or as dropped; ConfigError if one is illegal and illegal points are not dropped."""
    sweep = design.inquiry.sweep
    conditions = [drop for drop in sweep.drop if isinstance(drop, DropConfig)]
    points, dropped = [], []
    names = [axis.name for axis in design.axes]
    for number, of_point in enumerate(itertools.product(*design.levels)):
        labels = dict(zip(names, (level.label for level in of_point), strict=True))
        covariates = dict(pair for level in of_point for pair in level.covariates)
        reason = next((drop.because for drop in conditions if matches(labels, drop.where)), None)
        if not matches(labels, sweep.only):
            reason = LEFT_OUT
        if reason is None:
            reason = _illegal(design, number, labels)
        if reason is None:
            points.append(Point(number, labels, covariates))
        else:
            dropped.append(Dropped(number, labels, reason))
    if not points:
        found = f"{len(dropped)} dropped, the first because: {dropped[0].reason}"
        problems = Problems()
        add_finding(finding(("sweep",), "points_some", found=found), design.base.asked, problems)
        problems.stop()
    return points, dropped


def _illegal(design: Design, number: int, labels: dict[str, str]) -> str | None:
    """Why a point cannot be, where such points are dropped; ConfigError where not, or where a key is wrong."""
    problems = design.base.new_problems()
    try:
        resolved(design._node(number, problems), design.base.includes, problems)
    except ConfigError as error:
        if design.inquiry.sweep.drops_illegal and problems.only_between_keys:
            return "; ".join(f"{problem.key}: must {problem.must}" for problem in error.problems)
        if labels and problems.only_between_keys:
            shown = ", ".join(f"{name} {label}" for name, label in labels.items())
            found = finding(("sweep",), "points_legal", found=f"point {number} ({shown})")
            add_finding(found, design.base.asked, problems)
            raise problems.error() from None
        raise
    return None


def matches(labels: Mapping[str, str], where: Where) -> bool:
    """Does a point have one of the levels, or a number within the bounds, of each axis named?"""
    return all(_within(labels[axis], levels) for axis, levels in where.items())


def _within(label: str, levels: tuple[str, ...] | Bounds) -> bool:
    if isinstance(levels, tuple):
        return label in levels
    mine = quantity_of(label) or quantity_of(_number(label))
    if mine is None:
        return False
    limits = {name: quantity_of(limit) for name, limit in levels.given.items()}
    return all(
        limit is not None and limit.unit == mine.unit and _COMPARE[name](mine.value, limit.value)
        for name, limit in limits.items()
    )


def _number(label: str) -> float | None:
    found = number_of(label)
    return found[0] if found is not None else None


_COMPARE = {
    "below": lambda mine, limit: mine < limit,
    "above": lambda mine, limit: mine > limit,
    "at_least": lambda mine, limit: mine >= limit,
    "at_most": lambda mine, limit: mine <= limit,
}


def study_text(design: Design) -> str:
    """The study written back as YAML: files merged, overrides laid over, paths absolute, nothing resolved yet."""
    from kmsim.config.written import yaml_text

    return yaml_text(_whole(design))


def with_axis(design: Design, axis: Mapping[str, Any]) -> Design:
    """The same study with one more axis, the fastest."""
    whole = _whole(design)
    sweep = whole.get("sweep") or {}
    return design_of(whole | {"sweep": sweep | {"axes": [*sweep.get("axes", ()), axis]}})


def _whole(design: Design) -> dict[str, Any]:
    base = with_absolute_paths(design.base.node)
    whole: dict[str, Any] = base.with_keys(**with_absolute_axes(design.base.asked).keys).python()
    return whole
