"""The kinds of value a config holds: sizes, times, counts, shares, names, GFP flags; and the frozen model.

Each kind is a pydantic type that refuses with one of our rules, serialises to what a user would
write (``4KiB``, ``2us``), and tells JSON Schema how it is spelt. A bare number is neither a size nor a
time: the unit is not guessed. Leaves out: limits that depend on another key (each noun's ``findings``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from string import ascii_letters
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kmsim.config.errors import nearest
from kmsim.config.node import Loc
from kmsim.units import SIZE_UNITS, TIME_UNITS, format_size, format_time, parse_size, parse_time

INT_MAX = (1 << 63) - 1
TIME_MAX = 86_400 * TIME_UNITS["s"]
DIGITS_MAX = 40
_PERCENT = re.compile(r"^\s*[0-9]{1,3}(\.[0-9]{1,30})?\s*%\s*$")
TITLE_MAX = 200


class Model(BaseModel):
    """A noun of the config: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WithOptions(Model):
    """A noun with keys that may have no value: for them, a null says what leaving the key out says."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict) or None not in data.values():
            return data
        fields = cls.model_fields
        options = {key for key in fields if type(None) in get_args(fields[key].annotation)}
        return {key: value for key, value in data.items() if value is not None or key not in options}


class Finding(NamedTuple):
    """A broken rule that one value alone does not show, at a location below its noun."""

    loc: Loc
    rule: str
    context: dict[str, Any]
    found: str | None = None  # None: what stands at the location
    needs: tuple[str, ...] = ()  # the noun's other keys that it follows from
    near: str = ""  # what was most likely meant


def refused(rule: str, near: str = "", **context: object) -> PydanticCustomError:
    """The error by which a validator refuses a value; the door turns it into a Problem."""
    return PydanticCustomError("kmsim", "{rule}", {"rule": rule, "near": near, "context": context})


def finding(
    loc: Loc, rule: str, *, found: str | None = None, needs: tuple[str, ...] = (), near: str = "", **context: object
) -> Finding:
    """A Finding with the limits that its rule names."""
    return Finding(loc, rule, context, found, needs, near)


class _Kind(NamedTuple):
    """What a size and a time differ in."""

    rule: str
    parse: Callable[[str], int]
    spell: Callable[[int], str]
    units: dict[str, int]


_SIZE = _Kind("size", parse_size, format_size, SIZE_UNITS)
_TIME = _Kind("time", parse_time, format_time, TIME_UNITS)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number written with its unit and kept as int: bytes or picoseconds, between two limits."""

    kind: _Kind = field(hash=False)
    low: int
    high: int

    def validate(self, value: object) -> int:
        """The number in bytes or picoseconds, or the rule that the text breaks."""
        if not isinstance(value, str) or len(value) > DIGITS_MAX:
            raise refused(self.kind.rule)
        try:
            number = self.kind.parse(value)
        except ValueError as error:
            if "whole" in str(error):
                raise refused(f"{self.kind.rule}_whole") from None
            raise refused(self.kind.rule, near=self._nearest(value)) from None
        if number < self.low:
            raise refused("at_least", limit=self.kind.spell(self.low))
        if number > self.high:
            raise refused("at_most", limit=self.kind.spell(self.high))
        return number

    def _nearest(self, value: str) -> str:
        number = value.rstrip(ascii_letters)
        unit = nearest(value[len(number) :], self.kind.units)
        return f"{number.strip()}{unit}" if number.strip().isdecimal() and unit else ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        spelt = core_schema.plain_serializer_function_ser_schema(self.kind.spell, when_used="json")
        return core_schema.no_info_plain_validator_function(self.validate, serialization=spelt)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        units = "|".join(self.kind.units)
        return {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({units})\s*$"}


def size(low: int, high: int = INT_MAX) -> Quantity:
    """Bytes between two limits."""
    return Quantity(_SIZE, low, high)


def time(low: int) -> Quantity:
    """Picoseconds from a lower limit to a day."""
    return Quantity(_TIME, low, TIME_MAX)


def count(low: int, high: int = INT_MAX) -> Any:
    """An integer between two limits; not a bool, and not a float without a fraction."""
    return Field(strict=True, ge=low, le=high)


def count_or_auto(low: int, high: int) -> Callable[[Any], Any]:
    """What looks at an integer between two limits, or the word auto."""

    def validate(value: Any) -> Any:
        if value == "auto":
            return value
        if type(value) is not int:
            raise refused("type_int_or_auto")
        if value < low:
            raise refused("at_least", limit=low)
        if value > high:
            raise refused("at_most", limit=high)
        return value

    return validate


def auto_or(low: int, high: int) -> dict[str, Any]:
    """The JSON Schema of what `count_or_auto` takes."""
    return {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": low, "maximum": high}]}


def number(*, above: float | None = None, low: float | None = None, high: float | None = None) -> Any:
    """A finite number between limits, not a bool."""
    return Field(strict=True, allow_inf_nan=False, gt=above, ge=low, le=high)


def _share(value: object) -> float:
    """A number, or percent: 0.6 and 60% are the same."""
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        value = float(value.strip().removesuffix("%")) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise refused("share")
    return float(value)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise refused("type_text")
    first, rest = value[:1], value[1:]
    if len(value) > 64 or not (first.isascii() and first.isalnum()):
        raise refused("name")
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in rest):
        raise refused("name")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refused("type_text")
    return value


def _some_text(value: object) -> str:
    if not isinstance(value, str):
        raise refused("type_text")
    if not value.strip():
        raise refused("text_empty")
    return value


def one_line(value: str) -> str:
    """The text, which must be one line: names and labels stand in tables."""
    if "\n" in value or "\t" in value:
        raise refused("text_line")
    return value


def _title(value: object) -> str:
    text = one_line(_some_text(value))
    if len(text) > TITLE_MAX:
        raise refused("text_long", limit=TITLE_MAX)
    return text


def _gfp(value: object) -> str:
    from kmsim.mm.gfp import GFP_FLAGS, parse_gfp  # numba comes with it: not for `kmsim --help`

    if not isinstance(value, str):
        raise refused("type_text")
    try:
        parse_gfp(value)
    except ValueError:
        words = value.replace("|", " ").replace("&", " ").replace("~", " ").split()
        unknown = [word for word in words if word not in GFP_FLAGS]
        raise refused("gfp", near=nearest(unknown[0], GFP_FLAGS) if unknown else "") from None
    return value


def _some_items(value: Any) -> Any:
    if isinstance(value, list | tuple | dict) and not value:
        raise refused("some_items")
    return value


# pydantic's own minimum counts the items that are right, and would complain twice about a wrong one.
some_items = BeforeValidator(_some_items)
Bool = Annotated[bool, Field(strict=True)]
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string"})]
Title = Annotated[
    str, BeforeValidator(_title), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": TITLE_MAX})
]
SomeText = Annotated[str, BeforeValidator(_some_text), WithJsonSchema({"type": "string", "minLength": 1})]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
Gfp = Annotated[str, BeforeValidator(_gfp), WithJsonSchema({"type": "string", "examples": ["GFP_KERNEL"]})]
Share = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": _PERCENT.pattern}]}
    ),
]
Time = Annotated[int, time(0)]


def only_key(value: object, keys: tuple[str, ...], rule: str) -> str:
    """The one of ``keys`` that a mapping has; it may have others, which its own model judges."""
    given = [key for key in keys if key in value] if isinstance(value, dict) else []
    if len(given) != 1:
        raise refused(rule, keys=", ".join(keys))
    return given[0]
