"""Times that differ from one operation to the next: pauses, and how long blocks are kept.

A time alone is constant; else a mapping with exactly one key names the distribution. All means are
finite. Leaves out: arrivals (``arrivals``), how the numbers are drawn (``workload.draws``).
"""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, PlainSerializer, Tag, model_validator

from kmsim.config.quantities import Model, Time, number, only_key, refused
from kmsim.units import format_time

SHAPE_MAX = 100.0
SIGMA_MAX = 5.0  # the mean is then 270 000 times the median
DISTRIBUTION_KEYS = ("constant", "exponential", "uniform", "lognormal", "pareto")
WORDS = ("immediate", "immortal")


class Constant(Model):
    """The same time every time."""

    kind: ClassVar[str] = "constant"
    constant: Time

    @property
    def mean_ps(self) -> int:
        """The mean time."""
        return self.constant


class Exponential(Model):
    """Exponentially distributed, as the time to the next of many independent events is."""

    kind: ClassVar[str] = "exponential"
    exponential: Time

    @property
    def mean_ps(self) -> int:
        """The mean time."""
        return self.exponential


class Span(Model):
    """Two times, the first not above the second."""

    low: Time
    high: Time

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.low > self.high:
            raise refused("span", low=format_time(self.low))
        return self


class Uniform(Model):
    """Any time between two, each as likely."""

    kind: ClassVar[str] = "uniform"
    uniform: Span

    @property
    def mean_ps(self) -> int:
        """The mean time."""
        return (self.uniform.low + self.uniform.high) // 2


class LognormalShape(Model):
    """The median time, and the standard deviation of its logarithm."""

    median: Time
    sigma: Annotated[float, number(low=0, high=SIGMA_MAX)]


class Lognormal(Model):
    """The logarithm of the time is normally distributed."""

    kind: ClassVar[str] = "lognormal"
    lognormal: LognormalShape

    @property
    def mean_ps(self) -> int:
        """The mean time."""
        return round(self.lognormal.median * math.exp(self.lognormal.sigma**2 / 2))


class ParetoShape(Model):
    """The least time, and how fast longer ones become rare; above 1 the mean is finite."""

    least: Time
    shape: Annotated[float, number(above=1, high=SHAPE_MAX)]


class Pareto(Model):
    """A few times are very long: longer than x with probability (least/x)^shape."""

    kind: ClassVar[str] = "pareto"
    pareto: ParetoShape

    @property
    def mean_ps(self) -> int:
        """The mean time."""
        return round(self.pareto.least * self.pareto.shape / (self.pareto.shape - 1))


class Immediate(Model):
    """Freed as soon as it is allocated; written ``lifetime: immediate``."""

    kind: ClassVar[str] = "immediate"
    immediate: Literal[True] = True


class Immortal(Model):
    """Never freed; written ``lifetime: immortal``."""

    kind: ClassVar[str] = "immortal"
    immortal: Literal[True] = True


def _opened(value: Any) -> Any:
    if isinstance(value, str):
        return {"constant": value}
    if not isinstance(value, Model):
        only_key(value, DISTRIBUTION_KEYS, "distribution")
    return value


def _opened_lifetime(value: Any) -> Any:
    if isinstance(value, str):
        return {value: True} if value in WORDS else {"constant": value}
    if not isinstance(value, Model):
        only_key(value, DISTRIBUTION_KEYS, "lifetime")
    return value


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next(f"~{name}" for name in (*WORDS, *DISTRIBUTION_KEYS) if name in keys)


def _written(value: Model) -> Any:
    return value.kind if isinstance(value, Immediate | Immortal) else value.model_dump(mode="json")


Distribution = Annotated[
    Annotated[Constant, Tag("~constant")]
    | Annotated[Exponential, Tag("~exponential")]
    | Annotated[Uniform, Tag("~uniform")]
    | Annotated[Lognormal, Tag("~lognormal")]
    | Annotated[Pareto, Tag("~pareto")],
    Discriminator(_tag),
    BeforeValidator(_opened),
]

Lifetime = Annotated[
    Annotated[Immediate, Tag("~immediate")]
    | Annotated[Immortal, Tag("~immortal")]
    | Annotated[Constant, Tag("~constant")]
    | Annotated[Exponential, Tag("~exponential")]
    | Annotated[Uniform, Tag("~uniform")]
    | Annotated[Lognormal, Tag("~lognormal")]
    | Annotated[Pareto, Tag("~pareto")],
    Discriminator(_tag),
    BeforeValidator(_opened_lifetime),
    PlainSerializer(_written, when_used="json"),
]
