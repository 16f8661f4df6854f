"""/sys/devices/system/node/nodeN/numastat: where allocations from one node's zones landed (kernel: node_read_numastat).

The counters are those of `mm.numastat`, under names of this file's own; they begin with the boot.
"""

import re
from typing import NamedTuple

from kmsim.mm.indices import NodeIdx
from kmsim.mm.mmzone import Machine, zones_of_node
from kmsim.procfs.text import count, lines_of, refusal, shown
from kmsim.procfs.vmstat import numa_events

_LINE = re.compile(r"([a-z_]{1,32}) (\S+)")


class NumaStat(NamedTuple):
    """One node's counters: single allocations, or pages where they were taken in bulk."""

    numa_hit: int
    numa_miss: int
    numa_foreign: int
    interleave_hit: int
    local_node: int
    other_node: int


def rows(m: Machine, n: NodeIdx) -> NumaStat:
    """What the file of a node says."""
    return NumaStat(*numa_events(zones_of_node(m, n)).values())


def text(stat: NumaStat) -> str:
    """The file, as the kernel prints it."""
    return "".join(f"{name} {value}\n" for name, value in stat._asdict().items())


def show(m: Machine, n: NodeIdx) -> str:
    """The file of a node (kernel: node_read_numastat)."""
    return text(rows(m, n))


def parse(content: str) -> NumaStat:
    """Read such a file; ValueError names the first line that does not belong there."""
    lines = lines_of(content)
    values = []
    for number, (line, name) in enumerate(zip(lines, NumaStat._fields, strict=False), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[1] != name:
            raise refusal(number, f"not '{name} COUNT': {shown(line)}")
        values.append(count(match[2], number))
    if len(lines) != len(NumaStat._fields):
        raise refusal(len(values) + 1, f"{len(lines)} lines, where the kernel has {len(NumaStat._fields)}")
    return NumaStat(*values)
