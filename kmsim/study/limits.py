"""How much one kmalloc can give, and what sets that limit: the formula, and what the allocator answers.

The formula is the kernel's (KMALLOC_MAX_SIZE and its kin). The answer comes from a simulated machine in
its first state, which is asked order by order. Leaves out what reclaim and compaction could still free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kmsim.config import MachineConfig, Study, from_mapping, load
from kmsim.config.asked import asked_file
from kmsim.config.machine import PAGE_ALLOC_COSTLY_ORDER, PAGE_SIZES, section_bits
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_common import Caches
from kmsim.sim.core.ask import can_kmalloc
from kmsim.sim.run.boot import machine_of
from kmsim.units import format_size

SEED = 1
ANY_THREAD = {"threads": [{"name": "nobody"}]}  # a study has a workload; nothing of it runs here


class FormulaRow(NamedTuple):
    """The limits of one kernel by the formula, in bytes; what a machine with memory enough gives."""

    page_size: int
    max_page_order: int
    thp: bool
    kmalloc_max_size: int
    kmalloc_max_cache_size: int
    kmalloc_max_order: int

    @property
    def max_order_before_6_4(self) -> int:
        """The value of MAX_ORDER that means the same before Linux 6.4, where it was exclusive."""
        return self.max_page_order + 1


class LimitRow(NamedTuple):
    """The limits of one machine: by the formula, and what the allocator answers; `largest_success` may be 0 bytes."""

    machine: str
    formula: FormulaRow
    largest_success: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """All fields side by side."""
        answer = {"largest_success": self.largest_success, "why": self.why}
        return {"machine": self.machine, **self.formula._asdict(), **answer}


def machine_named(name: str, *, command: str = "limits", argument: str = "MACHINE") -> MachineConfig:
    """The machine of that shipped name, or of a file: a machine's, or a study's."""
    return study_named(name, (), command=command, argument=argument).machine


def study_named(name: str, sets: Sequence[str], *, command: str, argument: str) -> Study:
    """The study of that file, or one on that machine in which nobody does anything; with overrides."""
    file = asked_file("machines", name, command=command, argument=argument)
    if "machine" in _keys(file):
        return load(file, sets)
    return from_mapping({"machine": str(file), "workload": ANY_THREAD}, sets)


def _keys(path: Path) -> set[str]:
    """The top-level keys of a file; of one that cannot be read, `machine`, so that loading it says what is wrong."""
    from kmsim.config.errors import ConfigError
    from kmsim.config.node import Problems
    from kmsim.config.yaml_file import read_file

    try:
        return set(read_file(path, str(path), Problems()).keys)
    except ConfigError:
        return {"machine"}


def every_machine(memory: str = "4GiB") -> Iterator[MachineConfig]:
    """A machine for each page size and each order that the kernel can be built with."""
    for page_size in PAGE_SIZES:
        arch = "x86-64" if page_size == PAGE_SIZES[0] else "arm64"
        page_shift = page_size.bit_length() - 1
        largest = section_bits(arch, page_size) - page_shift  # type: ignore[arg-type]
        for order in range(PAGE_ALLOC_COSTLY_ORDER, largest + 1):
            config = {
                "name": f"{arch}-{format_size(page_size)}",
                "arch": arch,
                "page_size": format_size(page_size),
                "max_page_order": order,
                "memory": memory,
                "cpus": 4,
                "thp": {"built_in": order >= page_shift - 3},
            }
            yield from_mapping({"machine": config, "workload": ANY_THREAD}).machine


def formula_of(config: MachineConfig) -> FormulaRow:
    """The limits that follow from how a machine's kernel is built."""
    found = Caches(config.slab_build).limits
    sizes = found.kmalloc_max_size, found.kmalloc_max_cache_size, found.kmalloc_max_order
    return FormulaRow(config.page_size, config.max_page_order, config.thp.built_in, *sizes)


def limits_of(config: MachineConfig) -> LimitRow:
    """The limits of a machine, the largest success asked of it."""
    m = machine_of(config, SEED)
    order = largest_order(m, Caches(config.slab_build))
    largest_success = config.page_size << order if order >= 0 else 0
    return LimitRow(config.name, formula_of(config), largest_success, reason(m, order))


def largest_order(m: Machine, caches: Caches) -> int:
    """The largest order whose kmalloc succeeds now; -1 where none does."""
    page_size = caches.build.page_size
    for order in range(caches.build.max_page_order + 1, -1, -1):
        if can_kmalloc(m, caches, page_size << order):
            return order
    return -1


def reason(m: Machine, order: int) -> str:
    """Why the next order fails."""
    if order == m.params[0].max_page_order:
        return "MAX_PAGE_ORDER"
    if np.any(m.zones["nr_free"][:, order + 1 :]):
        return "watermarks"
    return f"no free block of order {order + 1}"
