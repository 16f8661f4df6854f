"""The product of a study's axes: every combination of one level of each, before it is known which of them can be.

A combination is named by its number: its place in the product, the last axis fastest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kmsim.config.door import Base
from kmsim.config.inquiry import Inquiry
from kmsim.config.node import Node, Problems
from kmsim.config.overrides import key_steps, laid


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


@dataclass(frozen=True)
class Product:
    """A study's axes and their levels, over the config that they are laid on."""

    base: Base
    inquiry: Inquiry
    axes: tuple[Axis, ...]
    levels: tuple[tuple[Level, ...], ...]  # by axis

    @property
    def parts_moved(self) -> list[set[str]]:
        """For each axis, which of machine, costs, workload and run it moves."""
        return [{str(key_steps(key)[0]) for level in of_axis for key, _ in level.sets} for of_axis in self.levels]

    def node_of(self, number: int, problems: Problems) -> Node:
        """The config of a point, unresolved: its levels laid over the file's."""
        node = self.base.node
        for levels, index in zip(self.levels, self.indices(number), strict=True):
            for key, value in levels[index].sets:
                node = laid(node, key, value, problems)
        return node

    def indices(self, number: int) -> tuple[int, ...]:
        """Which level of each axis a point has."""
        sizes = [len(levels) for levels in self.levels]
        return tuple(int(index) for index in np.unravel_index(number, sizes)) if sizes else ()
