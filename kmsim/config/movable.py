"""How much memory is for movable pages alone: kernelcore=, movablecore= and cma= of the kernel's command line.

Either is a size or a share of all memory; of both, the kernel takes the one that leaves more to itself. Leaves out
`kernelcore=mirror`, and areas of CMA, which are refused by name.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from kmsim.config.quantities import DIGITS_MAX, refused
from kmsim.units import format_size, parse_size


def _core(value: Any) -> str:
    """The text as a resolved config has it: a size in its shortest spelling, or a whole number of percent."""
    if not isinstance(value, str) or len(value) > DIGITS_MAX:
        raise refused("core")
    number = value.strip().removesuffix("%")
    if value.strip().endswith("%"):
        if not (number.isascii() and number.isdigit() and int(number) <= 100):
            raise refused("core")
        return f"{int(number)}%"
    try:
        return format_size(parse_size(value))
    except ValueError:
        raise refused("core") from None


Core = Annotated[str, BeforeValidator(_core), WithJsonSchema({"type": "string", "examples": ["512MiB", "50%"]})]


def _no_cma(value: Any) -> int:
    try:
        nr_bytes = parse_size(value) if isinstance(value, str) and len(value) <= DIGITS_MAX else value
    except ValueError:
        raise refused("cma") from None
    if type(nr_bytes) is not int or nr_bytes:
        raise refused("cma")
    return 0


Cma = Annotated[
    int, BeforeValidator(_no_cma), PlainSerializer(format_size, when_used="json"), WithJsonSchema({"enum": ["0B", 0]})
]


def core_pages(core: str | None, total_pages: int, page_shift: int) -> int:
    """The pages that are asked for, of so many; 0 where nothing is (kernel: cmdline_parse_core)."""
    if core is None:
        return 0
    if core.endswith("%"):
        return total_pages * int(core.removesuffix("%")) // 100
    return parse_size(core) >> page_shift
