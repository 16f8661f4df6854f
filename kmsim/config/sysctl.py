"""The kernel's memory settings under /proc/sys/vm, by their names and within the kernel's bounds.

Leaves out: everything the simulated parts do not read (overcommit, dirty limits, ...).
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from kmsim.config.quantities import Model, auto_or, count, count_or_auto, refused

KIB_MIN = 128  # calculate_min_free_kbytes never goes lower
HIGH_FRACTION_MIN = 8  # kernel: MIN_PERCPU_PAGELIST_HIGH_FRACTION
SWAPPINESS_MAX = 200  # kernel: MAX_SWAPPINESS
RATIO_MAX = (1 << 31) - 1  # the kernel keeps these as int


def _high_fraction(value: Any) -> int:
    if type(value) is not int:
        raise refused("type_int")
    if value != 0 and value < HIGH_FRACTION_MIN:
        raise refused("zero_or_8")
    if value > RATIO_MAX:
        raise refused("at_most", limit=RATIO_MAX)
    return value


def four(value: Any) -> Any:
    """A list of one value for each zone type."""
    if not isinstance(value, list):
        raise refused("type_list")
    if len(value) != 4:
        raise refused("items", count=4)
    return value


def _no_zone_reclaim(value: Any) -> int:
    if type(value) is not int:
        raise refused("type_int")
    if value != 0:
        raise refused("zone_reclaim")
    return value


MinFree = Annotated[
    int | Literal["auto"],
    BeforeValidator(count_or_auto(KIB_MIN, RATIO_MAX)),
    WithJsonSchema(auto_or(KIB_MIN, RATIO_MAX)),
]
HighFraction = Annotated[
    int,
    BeforeValidator(_high_fraction),
    WithJsonSchema({"anyOf": [{"const": 0}, {"type": "integer", "minimum": HIGH_FRACTION_MIN}]}),
]
ZoneReclaim = Annotated[int, BeforeValidator(_no_zone_reclaim), WithJsonSchema({"const": 0})]
Ratio = Annotated[int, count(0, RATIO_MAX)]


class SysctlConfig(Model):
    """Settings of /proc/sys/vm."""

    min_free_kbytes: MinFree = "auto"
    watermark_scale_factor: Annotated[int, count(1, 3000)] = 10
    watermark_boost_factor: Annotated[int, count(0, RATIO_MAX)] = 15000
    lowmem_reserve_ratio: Annotated[tuple[Ratio, ...], BeforeValidator(four)] = (256, 256, 32, 0)
    percpu_pagelist_high_fraction: HighFraction = 0
    zone_reclaim_mode: ZoneReclaim = 0
    swappiness: Annotated[int, count(0, SWAPPINESS_MAX)] = 60
    panic_on_oom: Annotated[int, count(0, 2)] = 0
