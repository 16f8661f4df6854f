"""The points of a design: every combination of levels is one, or is dropped with the reason, or is an error.

A combination is resolved like a config of its own, unless all its parts were in combinations before
(``same_runs``). An axis with two levels whose points are the same runs but for names is an error, too: its arms
would be equal to the last digit. What ``sweep.only`` leaves out may be what they differ in; what is dropped is not.
"""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.axes import AxisConfig
from kmsim.config.door import right_by_keys
from kmsim.config.errors import ConfigError
from kmsim.config.inquiry import DropConfig
from kmsim.config.matching import matches
from kmsim.config.node import Loc, Node, Problems
from kmsim.config.product import Product
from kmsim.config.quantities import finding
from kmsim.config.same_runs import Indices, Same, SeenParts, same_levels
from kmsim.config.validation import add_finding

LEFT_OUT = "not among sweep.only"
NAMED_MAX = 10  # levels of an axis that are named as the same as another
NO_COVARIATES: dict[str, str] = {}


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


class _Sorted(NamedTuple):
    """The combinations of a design, sorted."""

    points: list[Point]
    dropped: list[Dropped]
    same: NDArray[np.int32]  # of each point, what it is the same run by; -1 where there is none
    left_out: NDArray[np.bool_]  # by sweep.only


def sorted_out(product: Product, *, repeats: bool) -> tuple[list[Point], list[Dropped], SeenParts]:
    """Every combination, as a point or as dropped, and the parts of points. ConfigError where one may not be illegal.

    Unless ``repeats``, ConfigError, too, where levels of an axis are the same run at every point.
    """
    checks = _Checks(product)
    found = _sorted(product, checks)
    problems = Problems()
    if not found.points:
        reason = f"{len(found.dropped)} dropped, the first because: {found.dropped[0].reason}"
        add_finding(finding(("sweep",), "points_some", found=reason), product.base.asked, problems)
    if not repeats:
        _add_same_levels(product, checks, found, problems)
    problems.stop()
    return found.points, found.dropped, checks.seen


def _sorted(product: Product, checks: "_Checks") -> _Sorted:
    sweep = product.inquiry.sweep
    conditions = [drop for drop in sweep.drop if isinstance(drop, DropConfig)]
    sizes = [len(levels) for levels in product.levels]
    found = _Sorted([], [], np.full((*sizes, 4), -1, np.int32), np.zeros(sizes, np.bool_))
    names = [axis.name for axis in product.axes]
    by_number, left_out = found.same.reshape(-1, 4), found.left_out.reshape(-1)
    for number, (indices, of_point) in enumerate(
        zip(itertools.product(*map(range, sizes)), itertools.product(*product.levels), strict=True)
    ):
        labels = dict(zip(names, [level.label for level in of_point], strict=True))
        reason = next((drop.because for drop in conditions if matches(labels, drop.where)), None)
        if sweep.only and not matches(labels, sweep.only):
            reason, left_out[number] = LEFT_OUT, reason is None
        if reason is None:
            checked = checks.checked(number, indices, labels)
            if isinstance(checked, str):
                reason = checked
            else:
                by_number[number] = checked
        if reason is None:
            covariates = dict(pair for level in of_point for pair in level.covariates)
            found.points.append(Point(number, labels, covariates or NO_COVARIATES))
        else:
            found.dropped.append(Dropped(number, labels, reason))
    return found


class _Checks:
    """Whether combinations are legal, each checked as far as it is new."""

    def __init__(self, product: Product) -> None:
        self.product = product
        values = [value for levels in product.levels for level in levels for _, value in level.sets]
        values.append(product.base.node)
        self.seen = SeenParts(product.parts_moved, asks_vmalloc=any(_mentions(value, "vmalloc") for value in values))
        self.reasons: dict[object, str] = {}  # of illegal ones, by what tells them

    def checked(self, number: int, indices: Indices, labels: dict[str, str]) -> Same | str:
        """What the point is the same run by, or why it is dropped; ConfigError where it may not be dropped."""
        same = self.seen.same(indices)
        if same is not None:
            return same
        told_by = self.seen.told_by(indices)
        wrong = self.seen.problems(indices)
        if wrong and told_by in self.reasons:
            return self.reasons[told_by]
        problems = self.product.base.new_problems()
        try:
            if not wrong:
                return self._learnt(number, indices, problems)
            problems.found, problems.nr_alone = list(wrong), 0
            problems.stop()
        except ConfigError as error:
            self.reasons[told_by] = _reason(self.product, error, problems, number, labels)
        return self.reasons[told_by]

    def same(self, indices: Indices) -> Same | None:
        """The same for a combination that is not run; None where it is illegal."""
        number = int(np.ravel_multi_index(indices, [len(levels) for levels in self.product.levels]))
        if self.seen.problems(indices):
            return None
        try:
            return self.seen.same(indices) or self._learnt(number, indices, self.product.base.new_problems())
        except ConfigError:
            return None

    def _learnt(self, number: int, indices: Indices, problems: Problems) -> Same:
        node = self.product.node_of(number, problems)
        study = right_by_keys(node, self.product.base.includes, problems)
        self.seen.learn(indices, study, problems.found)
        problems.stop()
        same = self.seen.same(indices)
        assert same is not None, "all its parts are known, and legal"
        return same


def _mentions(node: Node, word: str) -> bool:
    below = [*node.keys.values(), *node.items]
    return node.value == word or any(_mentions(entry, word) for entry in below)


def _reason(product: Product, error: ConfigError, problems: Problems, number: int, labels: dict[str, str]) -> str:
    """Why an illegal point is dropped; ConfigError where such points are not, or where a key is wrong by itself."""
    if product.inquiry.sweep.drops_illegal and problems.only_between_keys:
        return "; ".join(f"{problem.key}: must {problem.must}" for problem in error.problems)
    if labels and problems.only_between_keys:
        shown = ", ".join(f"{name} {label}" for name, label in labels.items())
        found = finding(("sweep",), "points_legal", found=f"point {number} ({shown})")
        add_finding(found, product.base.asked, problems)
        raise problems.error() from None
    raise error


def _add_same_levels(product: Product, checks: _Checks, found: _Sorted, problems: Problems) -> None:
    """Note levels of an axis whose points are the same runs."""
    nr_named = [0] * len(product.levels)
    for n, k, other in same_levels(found.same):
        if nr_named[n] == NAMED_MAX or _differ_where_left_out(checks, found, n, (k, other)):
            continue
        nr_named[n] += 1
        axis, levels = product.inquiry.sweep.axes[n], product.levels[n]
        loc = ("sweep", "axes", n, *_loc_of_level(axis, k, levels[k].label))
        label, same_as = repr(levels[k].label[:60]), repr(levels[other].label[:60])
        add_finding(finding(loc, "level_same", found=label, other=same_as), product.base.asked, problems)


def _differ_where_left_out(checks: _Checks, found: _Sorted, axis: int, pair: tuple[int, int]) -> bool:
    """Do two levels differ at a point that ``sweep.only`` leaves out?"""
    either = np.take(found.left_out, pair, axis).any(axis)
    for place in np.argwhere(either):
        beside = tuple(int(index) for index in place)
        first, second = (checks.same((*beside[:axis], k, *beside[axis:])) for k in pair)
        if first is not None and second is not None and first != second:
            return True
    return False


def _loc_of_level(axis: AxisConfig, k: int, label: str) -> Loc:
    """Where in an axis a level is written."""
    if axis.values is not None:
        return ("values", k)
    if axis.zip is not None:
        return ("zip", next(iter(axis.zip)), k)
    return ("variants", label) if axis.variants is not None else ()
