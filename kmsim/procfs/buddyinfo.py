"""/proc/buddyinfo: how many free blocks of each order each populated zone has (kernel: frag_show_print).

Pages in per-CPU lists are in no count. Leaves out zones without pages, as the kernel does.
"""

import re
from typing import NamedTuple

from kmsim.mm.mmzone import Machine
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.text import Once, counts, lines_of, refusal, shown

ORDERS_MAX = 32

_LINE = re.compile(r"Node +([0-9]{1,4}), zone +([A-Za-z0-9]{1,16})((?: +\S+)*) *")


class FreeBlocks(NamedTuple):
    """One zone's line: free blocks by order."""

    node: int
    zone: str
    nr_free: tuple[int, ...]


def rows(m: Machine) -> tuple[FreeBlocks, ...]:
    """What the file says of this machine."""
    nr_orders = int(m.params[0].max_page_order) + 1
    return tuple(
        FreeBlocks(node, name, tuple(int(blocks) for blocks in m.zones[z].nr_free[:nr_orders]))
        for (node, name), z in populated_zones(m).items()
    )


def text(zones: tuple[FreeBlocks, ...]) -> str:
    """The file, as the kernel prints it."""
    return "".join(
        f"Node {node}, zone {zone:>8} {''.join(f'{blocks:6d} ' for blocks in nr_free)}\n"
        for node, zone, nr_free in zones
    )


def show(m: Machine) -> str:
    """This machine's /proc/buddyinfo (kernel: frag_show)."""
    return text(rows(m))


def parse(content: str) -> tuple[FreeBlocks, ...]:
    """Read a /proc/buddyinfo; ValueError names the first line that does not belong there."""
    zones: list[FreeBlocks] = []
    once = Once()
    for number, line in enumerate(lines_of(content), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise refusal(number, f"not 'Node N, zone NAME COUNTS': {shown(line)}")
        zone = FreeBlocks(int(match[1]), match[2], counts(match[3], number))
        if len(zone.nr_free) > ORDERS_MAX:
            raise refusal(number, f"{len(zone.nr_free)} orders, more than any kernel has")
        if zones and len(zone.nr_free) != len(zones[0].nr_free):
            raise refusal(number, f"{len(zone.nr_free)} orders where line 1 has {len(zones[0].nr_free)}")
        once.note(zone[:2], number, f"node {zone.node}, zone {zone.zone}")
        zones.append(zone)
    return tuple(zones)
