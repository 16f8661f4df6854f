"""extfrag_index and unusable_index of debugfs: two measures of fragmentation by zone and order.

Both are in thousandths, computed as `mm.vmstat` does; populated zones only (kernel:
unusable_show_print, extfrag_show_print). The sign of an index between -1 and 0 stands where the
kernel's division puts it: after the point.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from kmsim.mm.mmzone import Machine
from kmsim.mm.vmstat import fragmentation_index, unusable_free_index
from kmsim.procfs import buddyinfo
from kmsim.procfs.text import Once, lines_of, refusal, shown

_LINE = re.compile(r"Node +([0-9]{1,4}), zone +([A-Za-z0-9]{1,16})((?: +\S+)+) *")
_INDEX = re.compile(r"(-?[0-9]{1,6})\.([0-9]{3}|-[0-9]{2,3})")


class ZoneIndices(NamedTuple):
    """One zone's line: an index by order, in thousandths."""

    node: int
    zone: str
    thousandths: tuple[int, ...]


def rows(m: Machine, index: Callable[[list[int], int], int]) -> tuple[ZoneIndices, ...]:
    """An index of every populated zone at every order."""
    return tuple(
        ZoneIndices(node, zone, tuple(index(list(nr_free), order) for order in range(len(nr_free))))
        for node, zone, nr_free in buddyinfo.rows(m)
    )


def text(zones: tuple[ZoneIndices, ...], width: int) -> str:
    """The file; `width` is of the part before the point: 1 for the unusable index, 2 for extfrag."""
    return "".join(
        f"Node {node}, zone {zone:>8} {''.join(_spelt(index, width) for index in thousandths)}\n"
        for node, zone, thousandths in zones
    )


def show_unusable_index(m: Machine) -> str:
    """This machine's unusable_index (kernel: unusable_show)."""
    return text(rows(m, unusable_free_index), 1)


def show_extfrag_index(m: Machine) -> str:
    """This machine's extfrag_index (kernel: extfrag_show)."""
    return text(rows(m, fragmentation_index), 2)


def parse(content: str) -> tuple[ZoneIndices, ...]:
    """Read either file; ValueError names the first line that does not belong there."""
    zones: list[ZoneIndices] = []
    once = Once()
    for number, line in enumerate(lines_of(content), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise refusal(number, f"not 'Node N, zone NAME INDICES': {shown(line)}")
        zone = ZoneIndices(int(match[1]), match[2], tuple(_read(word, number) for word in match[3].split()))
        if zones and len(zone.thousandths) != len(zones[0].thousandths):
            nr_orders = len(zones[0].thousandths)
            raise refusal(number, f"{len(zone.thousandths)} orders where line 1 has {nr_orders}")
        once.note(zone[:2], number, f"node {zone.node}, zone {zone.zone}")
        zones.append(zone)
    return tuple(zones)


def _spelt(index: int, width: int) -> str:
    """An index as C's division and remainder spell it: both round towards 0."""
    whole, rest = divmod(abs(index), 1000)
    if index < 0:
        whole, rest = -whole, -rest
    return f"{whole:{width}d}.{rest:03d} "


def _read(word: str, number: int) -> int:
    match = _INDEX.fullmatch(word)
    if match is None or (int(match[1]) < 0 < int(match[2])):
        raise refusal(number, f"{shown(word)} is not an index such as 0.981")
    return int(match[1]) * 1000 + int(match[2])
