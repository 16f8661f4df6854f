"""How far off a fitted list is on points that its fit did not see, by kind of operation: its own `left_out`.

A kind is what a study's operations are matched by (`study.model_error`): API, order, and one CPU or several. It is
written where points of it were held out, or predicted without their curve, of allocations and of frees both.

Leaves out points that say nothing of a kind: of several kinds at once, of an allocation that zeroes its memory (the
time is that of zeroing), and of what no order tells the size of (objects, bulks, reads of files).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kmsim.config.machine import MachineConfig
from kmsim.metrics.columns import Table
from kmsim.metrics.gfp_names import gfp_of_names
from kmsim.mm.gfp import GFP_ZERO
from kmsim.study.measured import KINDS
from kmsim.units import format_size

WITHOUT_AN_ORDER = ("slab", "bulk", "file_read")
BOTH = frozenset(("alloc", "free"))
NINE_OF_TEN = 0.9
OPTIONS = ("tails_written", "init_on_alloc", "init_on_free")  # of the kernel


class OfKind(NamedTuple):
    """What a point is of."""

    api: str
    order: int
    several_cpus: bool
    operations: frozenset[str]  # alloc, free


class Off(NamedTuple):
    """How far off a point is that the fit did not see, in percent, without a sign."""

    kind: OfKind
    percent: float


def kind_of(operations: Table, operation: str) -> OfKind | None:
    """The kind of a point of this operation, from its run's table; None where it says nothing of one."""
    kinds = KINDS[operation]
    is_asked = np.isin(operations["kind"], kinds) & (operations["count"] > 0)
    alike = {
        (str(api), int(order)) for api, order in zip(*(operations[n][is_asked] for n in ("api", "order")), strict=True)
    }
    is_alloc = is_asked & (operations["kind"] == "alloc")
    is_zeroed = any(gfp_of_names(str(name)) & GFP_ZERO for name in set(operations["gfp"][is_alloc].tolist()))
    if len(alike) != 1 or is_zeroed:
        return None
    ((api, order),) = alike
    if api in WITHOUT_AN_ORDER:
        return None
    return OfKind(api, order, len(np.unique(operations["cpu"])) > 1, frozenset(kinds))


def lines_left_out(errors: Iterable[Off], machine: MachineConfig, source: str) -> list[str]:
    """The list's entry of them, in YAML, with what of the machine they depend on; no line where there is no kind."""
    options = {name: "true" for name in OPTIONS if getattr(machine, name)}
    groups: dict[tuple[str, int, bool], list[Off]] = {}
    for one in errors:
        groups.setdefault((one.kind.api, one.kind.order, one.kind.several_cpus), []).append(one)
    lines = []
    for (api, order, several_cpus), of_kind in sorted(groups.items()):
        if frozenset().union(*(one.kind.operations for one in of_kind)) != BOTH:
            continue
        middle, most = np.quantile([one.percent for one in of_kind], (0.5, NINE_OF_TEN))
        said = {
            "api": api,
            "min_order": order,
            "max_order": order,
            "page_size": format_size(machine.page_size),
            "cpus": "several" if several_cpus else "one",
            **options,
            "points": len(of_kind),
            "median": f"{middle:.1f}",
            "nine_of_ten": f"{most:.1f}",
            "source": json.dumps(source),
        }
        lines.append(f"  - {{{', '.join(f'{name}: {value}' for name, value in said.items())}}}")
    return ["left_out:", *lines] if lines else []
