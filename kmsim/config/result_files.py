"""The JSON files of results as models: what a reader of a folder that anybody may have written relies on.

`json_of` reads a text without keys that come twice, without numbers that JSON has not, and with a bound on its size and
on the number of its values; `checked` holds a model against it. Both raise ValueError with one line that says what must
hold. Leaves out what the texts say: those who show them make them harmless (a terminal, a page).
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, ValidationError

from kmsim.config.axes import LEVELS_MAX
from kmsim.config.inquiry import AXES_MAX, RUNS_MAX
from kmsim.config.quantities import INT_MAX
from kmsim.text import is_text

SCHEMA_VERSION = 7
TEXT_MAX = 10_000
POLICY_MAX = 1 << 20
LIST_MAX = 10_000
BATCHES_MAX = 1_000_000
VALUES_MAX = 1 << 22
BYTES_MAX = 1 << 27
TIME_NS_MAX = 1e18
SHOWN_MAX = 60


def _shown_as_it_is(text: str) -> str:
    if not is_text(text):
        raise ValueError("must be text without control characters and unpaired surrogates")
    return text


Words = Annotated[InstanceOf[str], Field(max_length=TEXT_MAX)]  # of a command line: unpaired surrogates, too
Text = Annotated[Words, AfterValidator(_shown_as_it_is)]  # of a config
Facts = Annotated[dict[Text, Text], Field(max_length=LIST_MAX)]
Lines = Annotated[list[Words], Field(max_length=LIST_MAX, fail_fast=True)]
Number = Annotated[int, Field(ge=0, le=INT_MAX)]
M = TypeVar("M", bound="ResultModel")


class ResultModel(BaseModel):
    """A file of a result: values have the types that were written, and there are no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Provenance(ResultModel):
    """What a plain run's and a study's provenance.json have in common."""

    schema_version: Literal[7]
    name: Text
    seed: Number
    versions: Facts
    python: Text
    host: Facts


class LeftOutFacts(ResultModel):
    """How far off the price list was on points that its fit did not see (`config.costs.LeftOut`)."""

    api: Text
    min_order: Number
    max_order: Number
    cpus: Literal["one", "several"]
    points: Number
    median: Annotated[float, Field(ge=0)]
    nine_of_ten: Annotated[float, Field(ge=0)]
    operation: Literal["both", "alloc", "free"] = "both"


class PolicyFacts(ResultModel):
    """A file of the user's in place of a policy: where it was, and what it said. It is read, and never run."""

    file: Words
    sha256: Words
    text: Annotated[InstanceOf[str], Field(max_length=POLICY_MAX)]


class RunProvenance(Provenance):
    """provenance.json of a run."""

    page_size_bytes: Literal[4096, 16384, 65536]
    command: Lines
    notes: Lines
    processes: Lines
    left_out: Annotated[list[LeftOutFacts], Field(max_length=LIST_MAX)]
    policies: Annotated[dict[Words, PolicyFacts], Field(max_length=LIST_MAX)] = {}


class StudyProvenance(Provenance):
    """provenance.json of a study."""

    model: Words
    nr_points: Annotated[int, Field(ge=1, le=RUNS_MAX)]
    nr_dropped: Number


class End(ResultModel):
    """end.json: how a run ended."""

    stuck: Words
    warm_up_ns: Annotated[float, Field(ge=0, le=TIME_NS_MAX)]
    remarks: Lines
    batches: Annotated[int, Field(ge=0, le=BATCHES_MAX)]


def _distinct(levels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(levels)) < len(levels):
        raise ValueError("no level may come twice")
    return levels


class AxisFacts(ResultModel):
    """An axis of design.json."""

    name: Annotated[Text, Field(min_length=1)]
    levels: Annotated[
        tuple[Text, ...],
        Field(min_length=1, max_length=LEVELS_MAX, strict=False, fail_fast=True),
        AfterValidator(_distinct),
    ]
    values: Annotated[tuple[float, ...], Field(max_length=LEVELS_MAX, strict=False, fail_fast=True)] | None
    unit: Literal["B", "ns", ""]


class DroppedFacts(ResultModel):
    """A point that is not run, in design.json."""

    number: Number
    labels: Facts
    reason: Text


class DesignFacts(ResultModel):
    """design.json: the axes of a study, the points that are not run, and hashes of the files that its configs name."""

    schema_version: Literal[7]
    name: Text
    seed: Number
    axes: Annotated[list[AxisFacts], Field(max_length=AXES_MAX, fail_fast=True)]
    dropped: Annotated[list[DroppedFacts], Field(fail_fast=True)]
    files: Facts


def json_of(content: bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, or too much."""
    if len(content) > BYTES_MAX or content.count(b",") + content.count(b"[") + content.count(b"{") > VALUES_MAX:
        raise ValueError(f"must have at most {BYTES_MAX >> 20} MiB and {VALUES_MAX:,} values")
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None


def checked(model: type[M], content: bytes) -> M:
    """The file's content as its model; ValueError says the first thing that is wrong with it."""
    value = json_of(content)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if "schema_version" in model.model_fields and (version != SCHEMA_VERSION or isinstance(version, bool)):
        raise ValueError(f"must have schema_version {SCHEMA_VERSION}, found {_shown(version)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ValueError(next(_said(error))) from None


def _said(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, one["loc"]))[:SHOWN_MAX]
        if one["type"] == "missing":
            yield f"must have {key}"
        elif one["type"] == "extra_forbidden":
            yield f"must not have {_shown(key)}"
        else:
            what = one["msg"].removeprefix("Value error, ")
            yield f"must have {key or 'a mapping'} as it was written, found {_shown(one['input'])} ({what})"


def _shown(value: Any) -> str:
    kind = type(value).__name__
    text = repr(value) if isinstance(value, bool | int | float | str | None) else f"a {kind}"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"must have each key once, found {_shown(twice)} twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"must hold numbers, found {text}")
