"""What a study asks, beside the config of a point: the sweep, how often, which numbers, which pictures.

These keys stand at the top of a study's file and never reach a simulation. Names that one part uses of
another (an axis, a level, a response) are checked here; whether a point is legal, the design finds out.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from kmsim.config.axes import AnyNumber, AxisConfig, kind_of, label_of, number_of
from kmsim.config.errors import nearest
from kmsim.config.node import Loc
from kmsim.config.quantities import (
    Bool,
    Finding,
    Model,
    Name,
    SomeText,
    Text,
    Title,
    WithOptions,
    count,
    finding,
    number,
    refused,
    some_items,
)
from kmsim.config.responses import DEFAULT_RESPONSES, Response, ResponseConfig

ILLEGAL = "illegal"
AXES_MAX = 20
RUNS_MAX = 1_000_000


class Bounds(WithOptions):
    """Numbers of an axis, by their size."""

    below: AnyNumber | None = None
    above: AnyNumber | None = None
    at_least: AnyNumber | None = None
    at_most: AnyNumber | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The bounds that are there, by their names."""
        return {name: limit for name, limit in self if limit is not None}


def _labels(value: Any) -> Any:
    """One level or several, as text; bounds as they are."""
    if isinstance(value, Bounds) or (isinstance(value, dict) and value):
        return value
    many = value if isinstance(value, list | tuple) else [value]
    if not many or any(item is None or isinstance(item, dict | list | tuple) for item in many):
        raise refused("levels")
    return tuple(label_of(item) for item in many)


def _levels_tag(value: Any) -> str:
    return "~levels" if isinstance(value, tuple) else "~below"


_LEVEL_SCHEMA = {"type": ["string", "number", "boolean"]}
Labels = Annotated[
    tuple[str, ...], WithJsonSchema({"anyOf": [_LEVEL_SCHEMA, {"type": "array", "items": _LEVEL_SCHEMA}]})
]
Levels = Annotated[
    Annotated[Labels, Tag("~levels")] | Annotated[Bounds, Tag("~below")],
    Discriminator(_levels_tag),
    BeforeValidator(_labels),
]
Where = dict[str, Levels]


class DropConfig(Model):
    """Points that are not run, and why."""

    where: Annotated[Where, some_items]
    because: SomeText


def _drop(value: Any) -> Any:
    if value == ILLEGAL or isinstance(value, dict | DropConfig):
        return value
    raise refused("drop", near=nearest(value, [ILLEGAL]) if isinstance(value, str) else "")


Drop = Annotated[
    Annotated[Literal["illegal"], Tag("~illegal")] | Annotated[DropConfig, Tag("~because")],
    Discriminator(lambda value: "~illegal" if value == ILLEGAL else "~because"),
    BeforeValidator(_drop),
]


class SweepConfig(Model):
    """The axes, every combination of whose levels is a point."""

    axes: Annotated[tuple[AxisConfig, ...], Field(max_length=AXES_MAX)] = ()
    only: Where = {}
    drop: tuple[Drop, ...] = ()

    @property
    def drops_illegal(self) -> bool:
        """Are points left out that break a rule between keys?"""
        return ILLEGAL in self.drop

    @property
    def nr_combinations(self) -> int:
        """Points, dropped ones included, at most."""
        product = 1
        for axis in self.axes:
            product *= axis.nr_levels
        return product


class UntilConfig(Model):
    """Replications until the mean of a response is known well enough."""

    response: Name
    half_width: Annotated[float, number(above=0, high=1)]  # of the 95 % confidence interval, as a share of the mean
    at_least: Annotated[int, count(2)] = 5
    at_most: Annotated[int, count(2, 10_000)] = 50


class ReplicationsConfig(WithOptions):
    """How often each point is run, each time with other random numbers."""

    number: Annotated[int, count(1, 10_000)] = 1
    until: UntilConfig | None = None
    random_numbers: Literal["common", "independent"] = "common"

    @property
    def most(self) -> int:
        """Replications of a point, at most."""
        return self.until.at_most if self.until is not None else self.number

    @property
    def first(self) -> int:
        """Replications of a point that are run in any case."""
        return self.until.at_least if self.until is not None else self.number


def _replications(value: Any) -> Any:
    return {"number": value} if isinstance(value, int | float | str) else value


def _one_label(value: Any) -> Any:
    labels = () if value is None else _labels(value)
    if value is not None and (not isinstance(labels, tuple) or len(labels) != 1):
        raise refused("one_level")
    return labels[0] if labels else None


class ComparisonConfig(WithOptions):
    """Paired differences between the levels of one axis."""

    axis: SomeText
    name: Title = Field(default_factory=lambda got: got["axis"])
    baseline: Annotated[SomeText | None, BeforeValidator(_one_label), WithJsonSchema(_LEVEL_SCHEMA)] = None
    responses: tuple[Name, ...] = ()  # all
    where: Where = {}
    paired: Bool = True


class FigureConfig(WithOptions):
    """One figure; what is not said is chosen by its kind."""

    kind: Literal["line", "heatmap", "ecdf", "tail", "pareto", "series", "fragmentation", "memory_map", "forest"]
    name: Name = Field(default_factory=lambda got: got["kind"])
    title: SomeText | None = None
    x: SomeText | None = None  # an axis; of a pareto, a response
    y: SomeText | None = None  # a response; of a heatmap, an axis
    colour: Name | None = None  # of a heatmap: a response
    hue: SomeText | None = None
    panels: SomeText | None = None
    where: Where = {}
    comparison: SomeText | None = None
    series: SomeText | None = None
    of: Literal["alloc", "free"] = "alloc"  # of an ecdf or a tail
    size: Literal["column", "page"] = "column"
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"


class FiguresConfig(WithOptions):
    """What holds for all figures of a study."""

    width: Literal["column", "page"] | None = None  # of those that say no size
    each: tuple[FigureConfig, ...] = ()  # none: those that a study gets which names none


def _figures_tag(value: Any) -> str:
    return "~width" if isinstance(value, dict | FiguresConfig) else "~each"


Figures = Annotated[
    Annotated[tuple[FigureConfig, ...], Tag("~each")] | Annotated[FiguresConfig, Tag("~width")],
    Discriminator(_figures_tag),
]


class Inquiry(WithOptions):
    """All that a study says beside the config of its points."""

    question: Text = ""
    sweep: SweepConfig = SweepConfig()
    replications: Annotated[ReplicationsConfig, BeforeValidator(_replications)] = ReplicationsConfig()
    responses: Annotated[tuple[Response, ...], some_items] = DEFAULT_RESPONSES
    comparisons: tuple[ComparisonConfig, ...] = ()
    figures: Figures = ()

    @property
    def figures_width(self) -> Literal["column", "page"] | None:
        """What figures that say no size are as wide as; None: as each needs."""
        return self.figures.width if isinstance(self.figures, FiguresConfig) else None

    @property
    def named_figures(self) -> tuple[FigureConfig, ...]:
        """The figures that the study names, each as wide as it is drawn."""
        width = self.figures_width
        return tuple(
            figure.model_copy(update={"size": width}) if width and "size" not in figure.model_fields_set else figure
            for figure in self._figures
        )

    @property
    def _figures(self) -> tuple[FigureConfig, ...]:
        return self.figures.each if isinstance(self.figures, FiguresConfig) else self.figures

    @property
    def _at_figures(self) -> tuple[str, ...]:
        return ("figures", "each") if isinstance(self.figures, FiguresConfig) else ("figures",)

    def findings(self) -> Iterator[Finding]:
        """What is wrong between these keys, but for levels of axes, which the design knows."""
        yield from _of_each("responses", self.responses)
        for n, axis in enumerate(self.sweep.axes):
            for found in axis.findings():
                yield found._replace(loc=("sweep", "axes", n, *found.loc))
        yield from _twice(("sweep", "axes"), [axis.title for axis in self.sweep.axes], "axis_twice")
        yield from _twice(("responses",), [response.name for response in self.responses], "response_twice")
        primary = [n for n, response in enumerate(self.responses) if response.primary]
        for n in primary[1:]:
            yield finding(("responses", n, "primary"), "response_primary", first=self.responses[primary[0]].name)
        yield from _twice(("comparisons",), [comparison.name for comparison in self.comparisons], "named_twice")
        yield from _twice(self._at_figures, [figure.name for figure in self._figures], "named_twice")
        responses = [response.name for response in self.responses]
        until = self.replications.until
        if until is not None:
            if "number" in self.replications.model_fields_set:
                yield finding(("replications", "number"), "left_out", key="until")
            if until.response not in responses:
                yield _unknown(("replications", "until", "response"), "response_name", until.response, responses)
            if until.at_most < until.at_least:
                yield finding(("replications", "until", "at_most"), "at_least", limit=until.at_least)
        for n, comparison in enumerate(self.comparisons):
            for i, name in enumerate(comparison.responses):
                if name not in responses:
                    yield _unknown(("comparisons", n, "responses", i), "response_name", name, responses)
        for n, figure in enumerate(self._figures):
            yield from self._figure_findings((*self._at_figures, n), figure, responses)

    def _figure_findings(self, loc: Loc, figure: FigureConfig, responses: list[str]) -> Iterator[Finding]:
        of_responses = {"line": ("y",), "heatmap": ("colour",), "pareto": ("x", "y")}.get(figure.kind, ())
        for key in of_responses:
            name = getattr(figure, key)
            if name is not None and name not in responses:
                yield _unknown((*loc, key), "response_name", name, responses)
        comparisons = [comparison.name for comparison in self.comparisons]
        if figure.comparison is not None and figure.comparison not in comparisons:
            yield _unknown((*loc, "comparison"), "comparison_name", figure.comparison, comparisons)
        if figure.kind == "forest" and not comparisons:
            yield finding((*loc, "kind"), "comes_with", what="comparisons, where it is forest")

    def level_findings(self, axes: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
        """Which axes and levels are named that there are not; ``axes``: labels by the axis' name."""
        yield from _where_findings(("sweep", "only"), self.sweep.only, axes)
        for n, drop in enumerate(self.sweep.drop):
            if isinstance(drop, DropConfig):
                yield from _where_findings(("sweep", "drop", n, "where"), drop.where, axes)
        for n, comparison in enumerate(self.comparisons):
            at = ("comparisons", n)
            if comparison.axis not in axes:
                yield _unknown((*at, "axis"), "axis_name", comparison.axis, list(axes))
            elif comparison.baseline is not None and comparison.baseline not in axes[comparison.axis]:
                yield _unknown((*at, "baseline"), "level_name", comparison.baseline, list(axes[comparison.axis]))
            yield from _where_findings((*at, "where"), comparison.where, axes)
        for n, figure in enumerate(self._figures):
            of_axes = {"heatmap": ("x", "y"), "pareto": ()}.get(figure.kind, ("x",))
            for key in (*of_axes, "hue", "panels"):
                name = getattr(figure, key)
                if name is not None and name not in axes:
                    yield _unknown((*self._at_figures, n, key), "axis_name", name, list(axes))
            yield from _where_findings((*self._at_figures, n, "where"), figure.where, axes)


def _of_each(key: str, nouns: tuple[ResponseConfig, ...]) -> Iterator[Finding]:
    for n, noun in enumerate(nouns):
        for found in noun.findings():
            yield found._replace(loc=(key, n, *found.loc))


def _twice(loc: tuple[str, ...], names: list[str], rule: str) -> Iterator[Finding]:
    """Names that an item of a list has of one before it."""
    for n, name in enumerate(names):
        if name in names[:n]:
            yield finding((*loc, n), rule, found=repr(name[:60]))


def _unknown(loc: Loc, rule: str, name: str, legal: list[str]) -> Finding:
    shown = ", ".join(legal[:20]) + (", ..." if len(legal) > 20 else "")
    return finding(loc, rule, found=repr(name[:60]), near=nearest(name, legal), names=shown or "none")


def _where_findings(loc: Loc, where: Where, axes: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    for axis, levels in where.items():
        if axis not in axes:
            yield _unknown((*loc, axis), "axis_name", axis, list(axes))
        elif isinstance(levels, tuple):
            for label in levels:
                if label not in axes[axis]:
                    yield _unknown((*loc, axis), "level_name", label, list(axes[axis]))
        else:
            of_axis = {_kind_of_label(label) for label in axes[axis]}
            for name, limit in levels.given.items():
                if of_axis != {kind_of(limit)}:
                    yield finding((*loc, axis, name), "bounds", kind=kind_of(limit))


def _kind_of_label(label: str) -> str:
    number = number_of(label)
    return kind_of(label if number is None or number[1] else number[0])
