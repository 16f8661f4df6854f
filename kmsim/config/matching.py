"""Which points a condition on their levels means: ``where``, ``only`` and ``drop``."""

from collections.abc import Mapping

from kmsim.config.axes import number_of, quantity_of
from kmsim.config.inquiry import Bounds, Where


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
