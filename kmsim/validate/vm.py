"""Sections `vm.*`: of how many pages, and of which order, vmalloc makes an area, asked of `mm.vmalloc`.

A row: the pages asked for, ok, the page frames in the order of the mapping as runs of [first, step, length], and the
states before, after, and after it was freed. kmsim asks for the same in the state before, with empty caches and an
empty vmalloc space. Scored: whether it works, how many pages come, that they are different ones, and that each block
of the order that kmsim takes is whole in the recording. Which frames they are is reported only: with interrupts on,
page tables, the area's record and its array of pages were allocated in between, from slabs that are not known. A row
that needs the kernel's slow path is skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.mm.gfp import GFP_KERNEL
from kmsim.mm.mmzone import NEEDS_SLOW_PATH, NO_PAGE, Machine
from kmsim.mm.slub_records import new_slub
from kmsim.mm.vm_records import NO_AREA, Vm
from kmsim.procfs.recorded import Recording, integer
from kmsim.validate.kvmalloc import VMALLOC, allocate_kv, moment_of
from kmsim.validate.replay import Rows
from kmsim.validate.report import Section, skipped
from kmsim.validate.slab import score
from kmsim.validate.steal import PFNS_MAX, pfns_of

FUNCTION = "vmalloc"


def vm_sections(recording: Recording, name: str) -> list[Section]:
    """Every row of one section."""
    raw = recording.lab[name]
    if raw["fn"] != FUNCTION:
        return [skipped(name, f"{raw['fn']} is not asked for; {FUNCTION} is")]
    cpu = integer(raw, name, "cpu", 0, recording.nr_cpus - 1)
    section = Section(name)
    nr_frames = nr_alike = 0
    for row in raw["rows"]:
        recorded, ok = pfns_of(row["runs"]), integer(row, "a row", "ok", 0, 1)
        order, found = asked(recording, cpu, row)
        what = f"{FUNCTION} of {row['pages']} pages"
        if ok and found is None:
            section.skipped += 1
            section.why = section.why or f"{what} needs the kernel's slow path"
            continue
        pfns = np.zeros(0, np.int64) if found is None else found
        wanted = [ok, len(recorded), len(np.unique(recorded)), whole_blocks(recorded, order)]
        score(section, what, wanted, [int(len(pfns) > 0), len(pfns), len(pfns), len(pfns) >> order])
        nr_frames += len(recorded)
        nr_alike += len(np.intersect1d(recorded, pfns))
    if not section.why:
        section.why = f"{nr_alike:,} of {nr_frames:,} page frames are those that kmsim takes, which is not scored"
    return [section]


def asked(recording: Recording, cpu: int, row: dict[str, Any]) -> tuple[int, Rows | None]:
    """The order of the blocks that kmsim's vmalloc takes in the state before, and their page frames, in order.

    No frames where it fails, None where reclaim might have found some.
    """
    nr_pages = integer(row, "a row", "pages", 1, PFNS_MAX)
    moment = moment_of(recording, row["before"])
    m, vm = moment.m, moment.vm
    nr_bytes = nr_pages << int(m.params[0].page_shift)
    allocate_kv(m, new_slub(m, moment.caches.geometries), vm, cpu, (VMALLOC, nr_bytes, GFP_KERNEL))
    area = int(vm.contexts[cpu].area)
    if area == NO_AREA:
        return 0, None if m.events[NEEDS_SLOW_PATH] else np.zeros(0, np.int64)
    return int(vm.areas[area].page_order), chained(m, vm, area)


def chained(m: Machine, vm: Vm, area: int) -> Rows:
    """An area's page frames in the order of its mapping."""
    pfns = []
    pfn = int(vm.areas[area].first_pfn)
    while pfn != NO_PAGE:
        pfns.append(pfn)
        pfn = int(m.pages[pfn].next)
    return np.array(pfns, np.int64)


def whole_blocks(pfns: Rows, order: int) -> int:
    """How many blocks of the order follow each other, each aligned and in one piece."""
    blocks = pfns[: len(pfns) >> order << order].reshape(-1, 1 << order)
    first = blocks[:, :1]
    return int(((first % (1 << order) == 0) & (blocks == first + np.arange(1 << order))).all(axis=1).sum())
