"""The axes of a sweep: which keys of a config are varied, and through which values.

An axis has a name and levels. A level lays one or several values over the config, by the rule of
``extends``; its label names it in tables and figures. Whether a key exists and takes the value is not
judged here: each point is resolved by the door like a config of its own.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema

from kmsim.config.node import Scalar
from kmsim.config.quantities import (
    DIGITS_MAX,
    Bool,
    Finding,
    SomeText,
    Title,
    WithOptions,
    count,
    finding,
    one_line,
    refused,
    some_items,
)
from kmsim.units import TIME_UNITS, format_size, format_time, parse_size, parse_time

LEVELS_MAX = 100_000
KEYS_MAX = 100
NUMBER_MAX = 1e300
DIGITS = 12  # of a number that was computed or is a label: 0.1 + 0.2 is 0.3
# Columns of the tables of a study's results, in which each axis has a column of its name.
COLUMNS = (
    "run", "point", "replication", "seed", "file", "stuck", "failed", "page_size_bytes", "max_page_order",
    "pageblock_order", "largest_block_bytes", "operations", "simulated_ns", "batch", "response", "unit", "value", "n",
    "mean", "sd", "ci_low", "ci_high", "half_width", "method", "comparison", "axis", "baseline", "level",
    "baseline_mean", "difference", "boot_low", "boot_high", "relative", "p", "p_holm", "significant", "variance_ratio",
    "lag_1_p", "failed_share", "baseline_failed_share",
)  # fmt: skip
WAYS = ("values", "range", "log", "zip", "variants", "latin_hypercube", "sobol")

Number = int | float


class Quantity(NamedTuple):
    """A number with the unit in which it was written: none, bytes or picoseconds."""

    value: Number
    unit: str  # "", "B" or "ps"

    def spelt(self, value: Number) -> Scalar:
        """Another number of this unit as a user would write it."""
        if self.unit == "B":
            return format_size(round(value))
        if self.unit == "ps":
            return format_time(round(value))
        return value


def quantity_of(value: object) -> Quantity | None:
    """The quantity that a config's value says; None for other text, lists and mappings."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Quantity(value, "")
    if isinstance(value, str) and len(value) <= DIGITS_MAX:
        for unit, parse in (("B", parse_size), ("ps", parse_time)):
            with suppress(ValueError):
                return Quantity(parse(value), unit)
    return None


def _quantity(value: object) -> object:
    if quantity_of(value) is None:
        raise refused("axis_number")
    _refuse_endless(value)
    return value


def _scalar(value: object) -> object:
    if value is None or isinstance(value, list | tuple | dict):
        raise refused("axis_value")
    _refuse_endless(value)
    return one_line(value) if isinstance(value, str) else value


def _refuse_endless(value: object) -> None:
    if isinstance(value, int | float) and not abs(value) <= NUMBER_MAX:
        raise refused("finite")


_NUMBER_SCHEMA = WithJsonSchema({"type": ["number", "string"]})
_VALUE_SCHEMA = WithJsonSchema({"type": ["number", "string", "boolean"]})
AnyNumber = Annotated[Any, BeforeValidator(_quantity), _NUMBER_SCHEMA]
Value = Annotated[Any, BeforeValidator(_scalar), _VALUE_SCHEMA]


def kind_of(value: object) -> str:
    """What sort of value it is."""
    if isinstance(value, bool):
        return "true or false"
    quantity = quantity_of(value)
    return {"": "numbers", "B": "sizes", "ps": "times"}[quantity.unit] if quantity is not None else "text"


Values = Annotated[tuple[Value, ...], Field(max_length=LEVELS_MAX), some_items]


def _mixed(values: tuple[Any, ...]) -> Iterator[Finding]:
    """The first value that is not of the kind of the first: a number, a size, a time, true or false, other text."""
    kind = kind_of(values[0])
    wrong = next((n for n, value in enumerate(values) if kind_of(value) != kind), None)
    if wrong is not None:
        yield finding((wrong,), "axis_mixed", kind=kind)


def _twice(labels: list[str]) -> Iterator[Finding]:
    """The first label that occurs twice."""
    before: set[str] = set()
    for n, label in enumerate(labels):
        if label in before:
            yield finding((n,), "axis_value_twice", found=label[:60])
            return
        before.add(label)


class RangeConfig(WithOptions):
    """From one number to another, both included, in equal steps."""

    first: Annotated[AnyNumber, Field(alias="from")]
    to: AnyNumber
    step: AnyNumber | None = None

    def values(self) -> Iterator[Scalar]:
        """Every number."""
        first, last, step = self._numbers()
        numbers = (first.value + n * step for n in range(self.count))
        rounded = (float(label_of(number)) if isinstance(number, float) else number for number in numbers)
        yield from dict.fromkeys(first.spelt(min(max(number, first.value), last.value)) for number in rounded)

    @property
    def count(self) -> int:
        """How many numbers there are, at most."""
        first, last, step = self._numbers()
        return math.floor((last.value - first.value) / step + 1e-9) + 1

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the numbers."""
        given = [number for number in (self.first, self.to, self.step) if number is not None]
        if len({kind_of(number) for number in given}) > 1:
            yield finding((), "range_units", found=", ".join(map(str, given)))
            return
        first, last, step = self._numbers()
        if first.unit and self.step is None:
            yield finding(("step",), "required", found="")
        elif step <= 0:
            yield finding(("step",), "above", limit=0)
        elif last.value < first.value:
            yield finding(("to",), "range_to", first=str(self.first))
        elif (last.value - first.value) / step >= LEVELS_MAX:
            yield finding((), "items_most", limit=LEVELS_MAX, found=f"{(last.value - first.value) / step:.3g}")

    def _numbers(self) -> tuple[Quantity, Quantity, Number]:
        first, last = quantity_of(self.first), quantity_of(self.to)
        step = quantity_of(1 if self.step is None else self.step)
        assert first is not None
        assert last is not None
        assert step is not None
        return first, last, step.value


def _between(low: Quantity, high: Quantity, share: float, *, log: bool) -> Scalar:
    """The number at a share (0 to 1) of the way; whole between whole ends, else of 6 digits."""
    if share in (0, 1):
        return (high if share else low).spelt((high if share else low).value)
    if log:
        number = math.exp((1 - share) * math.log(low.value) + share * math.log(high.value))
    else:
        number = (1 - share) * low.value + share * high.value
    is_whole = isinstance(low.value, int) and isinstance(high.value, int)
    return low.spelt(min(max(round(number) if is_whole else float(f"{number:.6g}"), low.value), high.value))


class LogConfig(WithOptions):
    """From one number to another in equal ratios; whole numbers stay whole, and none comes twice."""

    first: Annotated[AnyNumber, Field(alias="from")]
    to: AnyNumber
    count: Annotated[int, count(2, LEVELS_MAX)]

    def values(self) -> Iterator[Scalar]:
        """Every number, ascending."""
        first, last = quantity_of(self.first), quantity_of(self.to)
        assert first is not None
        assert last is not None
        shares = (n / (self.count - 1) for n in range(self.count))
        yield from dict.fromkeys(_between(first, last, share, log=True) for share in shares)

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the numbers."""
        first, last = quantity_of(self.first), quantity_of(self.to)
        assert first is not None
        assert last is not None
        if first.unit != last.unit:
            yield finding((), "range_units", found=f"{self.first}, {self.to}")
        elif first.value <= 0:
            yield finding(("from",), "above", limit=0)
        elif last.value <= first.value:
            yield finding(("to",), "range_to", first=str(self.first))


class BetweenConfig(WithOptions):
    """The range of one key of a sample."""

    low: AnyNumber
    high: AnyNumber
    log: Bool = False

    def value(self, share: float) -> Scalar:
        """The number at a share (0 to 1) of the way from low to high."""
        low, high = quantity_of(self.low), quantity_of(self.high)
        assert low is not None
        assert high is not None
        return _between(low, high, share, log=self.log)

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the numbers."""
        low, high = quantity_of(self.low), quantity_of(self.high)
        assert low is not None
        assert high is not None
        if low.unit != high.unit:
            yield finding((), "range_units", found=f"{self.low}, {self.high}")
        elif high.value <= low.value:
            yield finding(("high",), "range_to", first=str(self.low))
        elif self.log and low.value <= 0:
            yield finding(("low",), "above", limit=0)


class SampleConfig(WithOptions):
    """A number of points that fill the ranges of several keys (scipy.stats.qmc)."""

    count: Annotated[int, count(1, LEVELS_MAX)]
    over: Annotated[dict[str, BetweenConfig], Field(max_length=KEYS_MAX), some_items]
    seed: Annotated[int, count(0)] = 1

    def rows(self, method: str) -> list[dict[str, Scalar]]:
        """A value for each key, point by point."""
        from scipy.stats import qmc  # 0.9 s

        sampler = {"latin_hypercube": qmc.LatinHypercube, "sobol": qmc.Sobol}[method]
        shares = sampler(len(self.over), seed=self.seed).random(self.count)
        ranges = list(self.over.items())
        return [
            {key: between.value(float(share)) for (key, between), share in zip(ranges, row, strict=True)}
            for row in shares
        ]


class AxisConfig(WithOptions):
    """What is varied: exactly one of the ways, and the key for those that have one key."""

    name: Title | None = None
    key: SomeText | None = None
    values: Values | None = None
    range: RangeConfig | None = None
    log: LogConfig | None = None
    zip: Annotated[dict[str, Values], some_items] | None = None
    variants: Annotated[dict[str, dict[str, Any] | None], some_items] | None = None
    latin_hypercube: SampleConfig | None = None
    sobol: SampleConfig | None = None

    @property
    def title(self) -> str:
        """The name, or what is varied."""
        keys = (self.key,) if self.key is not None else tuple(self.zip or ())
        return self.name or ", ".join(keys) or "sample"

    @property
    def way(self) -> str | None:
        """The one way that is given; None if that is not one."""
        given = [way for way in WAYS if getattr(self, way) is not None]
        return given[0] if len(given) == 1 else None

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the keys of this axis."""
        way = self.way
        if way is None:
            given = ", ".join(way for way in WAYS if getattr(self, way) is not None)
            yield finding((), "one_way", found=given or "none", keys=", ".join(WAYS))
            return
        if way in ("values", "range", "log") and self.key is None:
            yield finding(("key",), "required")
        elif way not in ("values", "range", "log") and self.key is not None:
            yield finding(("key",), "left_out", key=way)
        if way == "variants" and self.name is None:
            yield finding(("name",), "required")
        for label in self.variants or ():
            if not label.strip():
                yield finding(("variants", label), "text_empty", found=repr(label))
            elif "\n" in label or "\t" in label:
                yield finding(("variants", label), "text_line", found=repr(label[:60]))
        if self.name in COLUMNS:
            yield finding(("name",), "axis_column")
        if self.range is not None or self.log is not None:
            for found in (self.range or self.log).findings():  # type: ignore[union-attr]
                yield found._replace(loc=(way, *found.loc))
        if self.values is not None:
            for found in (*_mixed(self.values), *_twice([label_of(value) for value in self.values])):
                yield found._replace(loc=("values", *found.loc))
        if self.zip is not None:
            yield from self._zip_findings(self.zip)
        sample = self.latin_hypercube or self.sobol
        if sample is not None:
            for key, between in sample.over.items():
                for found in between.findings():
                    yield found._replace(loc=(way, "over", key, *found.loc))
        if self.sobol is not None and self.sobol.count & (self.sobol.count - 1):
            yield finding(("sobol", "count"), "power_of_two")

    def _zip_findings(self, zipped: dict[str, tuple[Any, ...]]) -> Iterator[Finding]:
        first = next(iter(zipped))
        for key, values in zipped.items():
            for mixed in _mixed(values):
                yield mixed._replace(loc=("zip", key, *mixed.loc))
            if len(values) != len(zipped[first]):
                found = f"{len(values)} values"
                yield finding(("zip", key), "zip_lengths", found=found, first=first, count=len(zipped[first]))
                return
        for twice in _twice([", ".join(map(label_of, row)) for row in zip(*zipped.values(), strict=True)]):
            yield twice._replace(loc=("zip", first, *twice.loc))

    @property
    def nr_levels(self) -> int:
        """How many levels there are, at most (a logarithmic range may round two to one)."""
        sample = self.latin_hypercube or self.sobol or self.log
        if sample is not None:
            return sample.count
        if self.range is not None:
            return self.range.count
        many = self.values or self.variants or next(iter((self.zip or {}).values()), ())
        return len(many)


def label_of(value: object) -> str:
    """How a value is called in tables and figures."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def number_of(label: str) -> tuple[float, str] | None:
    """The number that a label says, and its unit: bytes, nanoseconds or none."""
    try:
        number = float(label)
    except ValueError:
        quantity = quantity_of(label)
    else:
        return (number, "") if math.isfinite(number) else None
    if quantity is None:
        return None
    return (quantity.value / TIME_UNITS["ns"], "ns") if quantity.unit == "ps" else (float(quantity.value), "B")
