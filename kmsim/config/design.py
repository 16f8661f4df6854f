"""The design of a study: its axes and levels, its points, those that are dropped and why.

A point is one level of each axis; it has the number of its place in the product of all axes, the last
axis fastest, whether or not points before it are dropped. Its config is the file's, with the levels'
values laid over it, resolved by the door like a config of its own. With common random numbers,
replication r of every point has the seed of the study plus r.

Invariant: equal files, overrides and seed give an equal design; the points' configs are made when asked
for, since a design may have a million of them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmsim.config.absolute import with_absolute_axes, with_absolute_paths
from kmsim.config.axes import AxisConfig, label_of, number_of
from kmsim.config.axis_keys import RUN_KEYS, key_findings
from kmsim.config.door import Base, base_of_file, base_of_mapping, checked_inquiry, resolved
from kmsim.config.extends import Includes
from kmsim.config.inquiry import RUNS_MAX, Inquiry
from kmsim.config.moved_keys import moved_findings, movers, overridden_sets
from kmsim.config.node import Node, Problems, scalar
from kmsim.config.overrides import key_steps
from kmsim.config.points import Dropped, Point, sorted_out
from kmsim.config.product import Axis, Level, Product
from kmsim.config.quantities import INT_MAX, finding
from kmsim.config.same_runs import SeenParts
from kmsim.config.study import Study
from kmsim.config.validation import add_finding

SEED_BITS = 62


@dataclass(frozen=True)
class Design(Product):
    """A study's points, and what it asks of them."""

    points: tuple[Point, ...]
    dropped: tuple[Dropped, ...]
    seen: SeenParts = field(compare=False, repr=False)  # what the points' configs are made of

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
        study = self.seen.study(self.indices(point.number))
        if study is None:
            problems = Problems()
            study = resolved(self.node_of(point.number, problems), self.base.includes, problems)
        seed = self.seed_of(point, replication)
        run = study.run if replication == 0 else study.run.model_copy(update={"memory_map": 0})
        return study.model_copy(update={"seed": seed, "run": run})

    def seed_of(self, point: Point, replication: int) -> int:
        """The seed of one run."""
        if self.inquiry.replications.random_numbers == "common":
            return self.seed + replication
        words = np.random.SeedSequence([self.seed, point.number, replication]).generate_state(1, np.uint64)
        return int(words[0]) >> (64 - SEED_BITS)


def load_design(path: str | os.PathLike[str], sets: Iterable[str] = (), seed: int | None = None) -> Design:
    """The design in a study's file; ConfigError says everything that is wrong with it."""
    return _design(base_of_file(path, sets, seed))


def design_of(config: Mapping[str, Any], sets: Iterable[str] = (), seed: int | None = None) -> Design:
    """The design in a mapping of the same keys."""
    return _design(base_of_mapping(config, sets, seed))


def _design(base: Base, *, repeats: bool = False) -> Design:
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
    points, dropped, seen = sorted_out(Product(base, inquiry, axes, levels), repeats=repeats)
    shown = tuple(_of_points(axis, points) for axis in axes)
    return Design(base, inquiry, shown, levels, tuple(points), tuple(dropped), seen)


def _check_moved(base: Base, inquiry: Inquiry, levels: tuple[tuple[Level, ...], ...], problems: Problems) -> None:
    """Note every key that is moved in two ways."""
    axes = inquiry.sweep.axes
    of_axes = movers(axes, [[(level.label, level.sets) for level in of_axis] for of_axis in levels], base.includes)
    held = [name for name, only in inquiry.sweep.only.items() if isinstance(only, tuple) and len(only) == 1]
    for twice in moved_findings(axes, of_axes, base.asked, held):
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
    """The axis without the levels that no point has."""
    there = {point.labels[axis.name] for point in points}
    kept = [k for k, level in enumerate(axis.levels) if level in there]
    values = None if axis.values is None else tuple(axis.values[k] for k in kept)
    return axis._replace(levels=tuple(axis.levels[k] for k in kept), values=values)


def study_text(design: Design) -> str:
    """The study written back as YAML: files merged, overrides laid over, paths absolute, nothing resolved yet."""
    from kmsim.config.written import yaml_text

    return yaml_text(_whole(design))


def with_axis(design: Design, axis: Mapping[str, Any]) -> Design:
    """The same study with one more axis, the fastest; levels of it may be the same run (a price of 1ps halved)."""
    whole = _whole(design)
    sweep = whole.get("sweep") or {}
    return _design(base_of_mapping(whole | {"sweep": sweep | {"axes": [*sweep.get("axes", ()), axis]}}), repeats=True)


def _whole(design: Design) -> dict[str, Any]:
    base = with_absolute_paths(design.base.node)
    whole: dict[str, Any] = base.with_keys(**with_absolute_axes(design.base.asked).keys).python()
    return whole
