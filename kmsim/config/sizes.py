"""How many bytes are asked for: one size, or sizes that differ from one request to the next.

Spelt as times are (``distributions``): a size alone is constant; else a mapping with exactly one key names the
distribution, of which there is one more, a table. Leaves out: how the numbers are drawn (``workload.sizes``).
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from kmsim.config.distributions import SHAPE_MAX, SIGMA_MAX
from kmsim.config.memory_map import GIB
from kmsim.config.quantities import Model, number, only_key, refused, size, some_items
from kmsim.units import format_size

SIZE_KEYS = ("constant", "exponential", "uniform", "lognormal", "pareto", "table")
WEIGHT_MAX = 10**9
ITEMS_MAX = 1000

Size = Annotated[int, size(1, GIB)]


class ConstantSize(Model):
    """The same size every time; resolved, it is that size."""

    constant: Size


class ExponentialSize(Model):
    """Exponentially distributed sizes, with this mean."""

    exponential: Size


class SizeSpan(Model):
    """Two sizes, the first not above the second."""

    low: Size
    high: Size

    @model_validator(mode="after")
    def _ordered(self) -> "SizeSpan":
        if self.low > self.high:
            raise refused("span", low=format_size(self.low))
        return self


class UniformSize(Model):
    """Any size between two, each as likely."""

    uniform: SizeSpan


class LognormalSizeShape(Model):
    """The median size, and the standard deviation of its logarithm."""

    median: Size
    sigma: Annotated[float, number(low=0, high=SIGMA_MAX)]


class LognormalSize(Model):
    """The logarithm of the size is normally distributed."""

    lognormal: LognormalSizeShape


class ParetoSizeShape(Model):
    """The least size, and how fast larger ones become rare; above 1 the mean is finite."""

    least: Size
    shape: Annotated[float, number(above=1, high=SHAPE_MAX)]


class ParetoSize(Model):
    """A few sizes are very large: larger than x with probability (least/x)^shape."""

    pareto: ParetoSizeShape


class WeightedSize(Model):
    """One size of a table."""

    size: Size
    weight: Annotated[float, number(above=0, high=WEIGHT_MAX)] = 1.0


class TableOfSizes(Model):
    """Some sizes, each with a probability proportional to its weight."""

    table: Annotated[tuple[WeightedSize, ...], Field(max_length=ITEMS_MAX), some_items]


DistributionOfSizes = ExponentialSize | UniformSize | LognormalSize | ParetoSize | TableOfSizes


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        only_key(value, SIZE_KEYS, "sizes")
    return value


def _alone(value: ConstantSize) -> int:
    return value.constant


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((f"~{name}" for name in SIZE_KEYS if name in keys), "~size")


Sizes = Annotated[
    Annotated[Size, Tag("~size")]
    | Annotated[ConstantSize, AfterValidator(_alone), Tag("~constant")]
    | Annotated[ExponentialSize, Tag("~exponential")]
    | Annotated[UniformSize, Tag("~uniform")]
    | Annotated[LognormalSize, Tag("~lognormal")]
    | Annotated[ParetoSize, Tag("~pareto")]
    | Annotated[TableOfSizes, Tag("~table")],
    Discriminator(_tag),
    BeforeValidator(_opened),
]


def mean_bytes(sizes: int | DistributionOfSizes) -> float:
    """The mean of the sizes, as they are written: what no allocator could give is drawn again, and not counted here."""
    if isinstance(sizes, int):
        return sizes
    if isinstance(sizes, ExponentialSize):
        return sizes.exponential
    if isinstance(sizes, UniformSize):
        return (sizes.uniform.low + sizes.uniform.high) / 2
    if isinstance(sizes, LognormalSize):
        return sizes.lognormal.median * math.exp(sizes.lognormal.sigma**2 / 2)
    if isinstance(sizes, ParetoSize):
        return sizes.pareto.least * sizes.pareto.shape / (sizes.pareto.shape - 1)
    whole = sum(entry.weight for entry in sizes.table)
    return sum(entry.size * entry.weight for entry in sizes.table) / whole


def written_sizes(sizes: int | DistributionOfSizes) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Every size that is written there, and where: none of them may be more than an allocator can give."""
    if isinstance(sizes, int):
        yield (), sizes
    elif isinstance(sizes, ExponentialSize):
        yield ("exponential",), sizes.exponential
    elif isinstance(sizes, UniformSize):
        yield ("uniform", "high"), sizes.uniform.high
    elif isinstance(sizes, LognormalSize):
        yield ("lognormal", "median"), sizes.lognormal.median
    elif isinstance(sizes, ParetoSize):
        yield ("pareto", "least"), sizes.pareto.least
    else:
        for n, entry in enumerate(sizes.table):
            yield ("table", n, "size"), entry.size
