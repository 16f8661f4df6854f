"""/proc/vmstat: the machine's counters by name (kernel: vmstat_show).

Which names there are, `procfs.stat_items` says, by release, architecture, THP and NUMA. What kmsim does not model
is printed as 0. NR_FREE_PAGES is without the CPUs' pending deltas, as the kernel's counter is.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.lru_records import LRU_EVENT_NAMES
from kmsim.mm.mmzone import NR_VM_NUMA_EVENT_ITEMS, PGALLOC, PGFREE, ZONE_NAMES, Machine
from kmsim.procfs.stat_items import FREE_BLOCKS, LAST, NODE_LRU_ITEMS, NUMA_STAT_ITEMS, ZONE_LRU_ITEMS, names
from kmsim.procfs.text import count, lines_of, refusal, shown

_LINE = re.compile(r"([a-z][a-z0-9_]{0,63}) (\S+)")


class VmStat(NamedTuple):
    """The file's counters by name, in the file's order."""

    counters: dict[str, int]


def rows(m: Machine, arch: str = "x86-64") -> VmStat:
    """What the file says of this machine; the machine itself does not know its architecture."""
    params = m.params[0]
    listed = names(arch=arch, thp_built_in=bool(params.thp_built_in), numa=bool(params.numa), series=int(params.series))
    counters = dict.fromkeys(listed, 0)
    if params.numa:
        counters |= numa_events(m.zones)
    counters["nr_free_pages"] = max(0, int(m.zones["nr_free_pages"].sum()))
    if FREE_BLOCKS in counters:
        counters[FREE_BLOCKS] = nr_free_in_pageblocks(m.zones, m)
    for zone_type, name in enumerate(ZONE_NAMES):
        counters[f"pgalloc_{name.lower()}"] = int(m.events[PGALLOC + zone_type])
    counters["pgfree"] = int(m.events[PGFREE])
    if m.lru is not None:
        counters |= {name: value for name, value in lru_counters(m).items() if name in counters}
    return VmStat(counters)


def nr_free_in_pageblocks(zones: NDArray[np.void], m: Machine) -> int:
    """The pages of some zones that are in free blocks of a pageblock or more (kernel: NR_FREE_PAGES_BLOCKS)."""
    first, last = int(m.params[0].pageblock_order), int(m.params[0].max_page_order)
    nr_free = zones["nr_free"].sum(axis=0).tolist()
    return sum(nr_free[order] << order for order in range(first, last + 1))


def numa_events(zones: NDArray[np.void]) -> dict[str, int]:
    """Where the allocations from some zones landed, by name (kernel: sum_vm_numa_events)."""
    totals = zones["vm_numa_event"].sum(axis=0).tolist()
    return dict(zip(NUMA_STAT_ITEMS, totals, strict=True))


def lru_counters(m: Machine) -> dict[str, int]:
    """What a machine that reclaims counts, by name: events, and pages on LRU lists."""
    events = dict(zip(LRU_EVENT_NAMES, m.lru.vm_events.tolist(), strict=True))
    nodes = m.lru.lruvecs["vm_stat"].sum(axis=0)
    zones = m.lru.zones["vm_stat"].sum(axis=0)
    return events | named_counters(NODE_LRU_ITEMS, nodes) | named_counters(ZONE_LRU_ITEMS, zones)


def named_counters(names: tuple[str, ...], values: NDArray[np.int64]) -> dict[str, int]:
    """Counters by their names; those that are below 0, as pending deltas are missing, are printed as 0."""
    return {name: max(0, value) for name, value in zip(names, values.tolist(), strict=True)}


def text(vmstat: VmStat) -> str:
    """The file, as the kernel prints it."""
    return "".join(f"{name} {value}\n" for name, value in vmstat.counters.items())


def show(m: Machine, arch: str = "x86-64") -> str:
    """This machine's /proc/vmstat (kernel: vmstat_show)."""
    return text(rows(m, arch))


def parse(content: str) -> VmStat:
    """Read a /proc/vmstat of any kernel; ValueError names the first line that does not belong there."""
    counters: dict[str, int] = {}
    for number, line in enumerate(lines_of(content), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise refusal(number, f"not 'NAME COUNT': {shown(line)}")
        if match[1] in counters:
            raise refusal(number, f"{match[1]} for the second time")
        counters[match[1]] = count(match[2], number)
    if LAST not in counters:
        raise refusal(len(counters) + 1, f"cut off before {LAST!r}, the kernel's last line")
    return VmStat(counters)


assert len(NUMA_STAT_ITEMS) == NR_VM_NUMA_EVENT_ITEMS
