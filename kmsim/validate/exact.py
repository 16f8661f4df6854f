"""Section `exact`: what alloc_pages_exact holds and takes, asked of a machine of the recorded page size and orders.

A row: size, get_order(size), ok, pages of the block that stayed allocated, how many free pages fewer there were after
alloc_pages_exact and after alloc_pages(get_order); the page itself is not scored, since the state before is not
recorded. For the same reason a size that the recorded kernel had no block for, though its order is legal, is skipped.
"""

from __future__ import annotations

from typing import Any

from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_KERNEL
from kmsim.mm.memblock import Boot, boot_machine
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.procfs.recorded import Recording
from kmsim.procfs.recorded_state import params_of
from kmsim.sim.core.ask import allocate, allocate_exact, free, free_exact
from kmsim.validate.replay import is_row
from kmsim.validate.report import Section

NR_BLOCKS = 6  # of the largest order: as many as the machine that is asked has at least
CPU = 0
COMPARED = 6  # columns
SIZE_MAX = (1 << 63) - 1
FAILED = -1  # the delta of an alloc_pages that was not tried


def machine_like(recording: Recording, nr_blocks: int = NR_BLOCKS) -> Machine:
    """A machine of one CPU and so many of the largest blocks, with the recording's page size and orders."""
    params = params_of(recording)._replace(nr_cpus=1)
    ram = (PfnRange(0, nr_blocks << params.max_page_order),)
    return boot_machine(Boot(arch="arm64", params=params, thp_enabled=False, ram=ram, reserved=()))  # one zone


def nr_free(m: Machine) -> int:
    """Free pages, those on the per-CPU lists included."""
    on_lists = sum(int(blocks) << order for zone in m.zones for order, blocks in enumerate(zone.nr_free))
    return on_lists + int(m.pcps["count"].sum())


def answer(m: Machine, size: int) -> list[int]:
    """The row that kmsim's machine gives for a size, without the page."""
    order = get_order(size, int(m.params[0].page_shift))
    before = nr_free(m)
    pfn = allocate_exact(m, CPU, GFP_KERNEL, size)
    taken = before - nr_free(m)
    if pfn == NO_PAGE:
        return [size, order, 0, 0, 0, FAILED]
    held = int(m.pages[pfn].prev)
    free_exact(m, CPU, pfn, size)
    before = nr_free(m)
    pfn = allocate(m, CPU, GFP_KERNEL, order)
    whole = before - nr_free(m)
    free(m, CPU, pfn, order)
    return [size, order, 1, held, taken, whole]


def exact_section(recording: Recording, name: str) -> list[Section]:
    """Every row of the section."""
    section = Section(name)
    m = machine_like(recording)
    rows: list[list[Any]] = recording.lab[name]["rows"]
    for row in rows:
        wanted = row[:COMPARED]
        if not is_row(wanted, COMPARED) or not 0 < wanted[0] <= SIZE_MAX:
            raise ValueError(f"a row must be {COMPARED} integers and more, the first a size from 1 to {SIZE_MAX}")
        got = answer(m, wanted[0])
        if not wanted[2] and got[2] and wanted[1] == got[1]:
            section.skipped += 1
            section.why = section.why or f"size {row[0]}: the recorded machine had no block of order {row[1]}"
            continue
        section.rows += 1
        section.equal += got == wanted
        if got != wanted:
            section.why = f"size {row[0]}: recorded {wanted[1:]}, kmsim {got[1:]}"
    return [section]
