"""Sizes and times as people write them, and the one unit in which kmsim keeps each.

Sizes are bytes (int). Times are picoseconds (int): prices are fractions of a nanosecond, and
floats would cost the bit-identity of results. People read and write ``16GiB`` and ``2us``.
"""

import re
from functools import lru_cache

PS_PER_NS = 1_000

SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
TIME_UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12}

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def _parse(text: str, units: dict[str, int], example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"a number and one of {', '.join(units)}, such as {example}")
    whole, _, fraction = match[1].partition(".")
    scale = units[match[2]]
    value, remainder = divmod(int(whole + fraction) * scale, int(10 ** len(fraction)))
    if remainder:
        raise ValueError(f"a whole number of {next(iter(units))}")
    return value


def parse_size(text: str) -> int:
    """Bytes of a size such as ``4KiB`` or ``1.5GiB``; ValueError says what must hold."""
    return _parse(text, SIZE_UNITS, "16GiB")


def parse_time(text: str) -> int:
    """Picoseconds of a time such as ``2us`` or ``0.25ns``; ValueError says what must hold."""
    return _parse(text, TIME_UNITS, "2us")


def _format(value: int, units: dict[str, int]) -> str:
    for unit, scale in reversed(units.items()):
        if value and value % scale == 0:
            return f"{value // scale}{unit}"
    return f"{value}{next(iter(units))}"


def time_unit(time_ns: float) -> tuple[str, float]:
    """The largest unit of which a time has one or more, and its nanoseconds; ns for shorter ones, and for NaN."""
    scales = {unit: scale / PS_PER_NS for unit, scale in TIME_UNITS.items() if scale >= PS_PER_NS}
    return next(((unit, ns) for unit, ns in reversed(scales.items()) if time_ns >= ns), ("ns", 1.0))


@lru_cache(1024)  # the runs of a sweep have most of them in common
def format_size(size_bytes: int) -> str:
    """The shortest exact spelling of a size: 4096 -> ``4KiB``."""
    return _format(size_bytes, SIZE_UNITS)


@lru_cache(1024)
def format_time(time_ps: int) -> str:
    """The shortest exact spelling of a time: 2_000_000 -> ``2us``."""
    return _format(time_ps, TIME_UNITS)
