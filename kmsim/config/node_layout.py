"""The machine's NUMA nodes: which CPUs and what memory each has, and how far they are from each other.

A node is given its memory by size, and the sizes divide the machine's memory map one after the other, from its lowest
address up; or it says by ranges where its memory lies. Either way, the memory of a node lies behind that of the nodes
before it. Holes of less than 2 MiB count as memory, as firmware has them in a node: `memory` is what is installed.

Leaves out: nodes whose memory lies in turns, generic initiators, memory that is hot-plugged.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from kmsim.config.memory_map import MIB, MemoryRange, Ranges
from kmsim.config.quantities import Finding, WithOptions, count, finding, refused, size
from kmsim.mm.mmzone import LOCAL_DISTANCE, NR_NODES_MAX, REMOTE_DISTANCE
from kmsim.units import format_size

FIRMWARE_HOLES_MAX = 2 * MIB
DISTANCE_MAX = 255  # firmware's tables have a byte for it
CPUS_MAX = 256
MEMORY_MIN = 64 * MIB
_RANGE = re.compile(r"\s*([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?\s*")


def cpu_list(value: Any) -> Any:
    """CPU numbers of a text such as 0-3,8-11."""
    return numbers_of(value, "cpu_list")


def numbers_of(value: Any, rule: str) -> Any:
    """Numbers of a text such as 0-3,8-11, as the kernel writes lists of CPUs and nodes; a list is what it is."""
    if isinstance(value, list | tuple):
        return value
    if not isinstance(value, str):
        raise refused(rule)
    numbers: list[int] = []
    for part in value.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise refused(rule)
        first = int(found[1])
        last = int(found[2] or first)
        if last < first:
            raise refused(rule)
        numbers += range(first, last + 1)
    return numbers


def numbers_text(numbers: Sequence[int]) -> str:
    """Numbers as the kernel writes lists of them: 0-3,8-11."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def written_numbers(numbers: tuple[int, ...]) -> str | list[int]:
    """Numbers as `numbers_of` reads them; a text of one number would be one, and that of none is empty."""
    text = numbers_text(numbers)
    return text if "-" in text or "," in text else list(numbers)


CpuList = Annotated[
    tuple[Annotated[int, count(0, CPUS_MAX - 1)], ...],
    BeforeValidator(cpu_list),
    PlainSerializer(written_numbers, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}),
]
Distance = Annotated[int, count(LOCAL_DISTANCE, DISTANCE_MAX)]
_Row = Annotated[tuple[Distance, ...], Field(max_length=NR_NODES_MAX)]
Distances = Annotated[tuple[_Row, ...], Field(max_length=NR_NODES_MAX)]


class NodeConfig(WithOptions):
    """One node: with or without CPUs, with or without memory."""

    cpus: CpuList = ()
    memory_map: Ranges | None = None
    memory: Annotated[int, size(0)] = Field(default_factory=lambda got: installed_bytes(got["memory_map"] or ()))


Nodes = tuple[NodeConfig, ...]


def installed_bytes(memory_map: Ranges) -> int:
    """The memory that a map is of, in whole MiB: firmware's holes are less."""
    return -(-sum(ram.size for ram in memory_map) // MIB) * MIB


def default_distances(nodes: Nodes | None) -> tuple[tuple[int, ...], ...] | None:
    """As far apart as the kernel takes nodes to be where firmware says nothing."""
    if nodes is None:
        return None
    numbers = range(len(nodes))
    return tuple(tuple(LOCAL_DISTANCE if n == other else REMOTE_DISTANCE for other in numbers) for n in numbers)


def node_ranges(nodes: Nodes, memory_map: Ranges) -> list[Ranges]:
    """Where the memory of each node lies; the last one that has any has all that is left."""
    if any(node.memory_map for node in nodes):
        return [node.memory_map or () for node in nodes]
    if not nodes:
        return []
    pieces = list(_installed(memory_map))
    last = max((n for n, node in enumerate(nodes) if node.memory), default=0)
    found, low, installed = [], 0, 0
    for n, node in enumerate(nodes):
        installed += node.memory
        high = memory_map[-1].end if n >= last else _address(pieces, installed)
        parts = ((max(ram.start, low), min(ram.end, high)) for ram in memory_map)
        found.append(tuple(MemoryRange.between(start, end) for start, end in parts if end > start))
        low = high
    return found


def _installed(memory_map: Ranges) -> Iterator[tuple[int, int]]:
    """The pieces of the address space that have RAM, in whole steps of 2 MiB, so that firmware's holes are in them."""
    end = 0
    for ram in memory_map:
        start = max(ram.start // FIRMWARE_HOLES_MAX * FIRMWARE_HOLES_MAX, end)
        end = max(-(-ram.end // FIRMWARE_HOLES_MAX) * FIRMWARE_HOLES_MAX, start)
        yield start, end


def _address(pieces: Sequence[tuple[int, int]], nr_bytes: int) -> int:
    """The address below which so many bytes of the pieces lie."""
    for start, end in pieces:
        if nr_bytes <= end - start:
            return start + nr_bytes
        nr_bytes -= end - start
    return pieces[-1][1]


def nodes_findings(nodes: Nodes, *, cpus: int, memory: int, memory_map: Ranges, page_size: int) -> Iterator[Finding]:
    """What is wrong with the nodes of a machine of so many CPUs and this memory."""
    for n, node in enumerate(nodes):
        if not node.cpus and not node.memory:
            yield finding(("nodes", n), "node_empty", found="neither")
    yield from _cpu_findings(nodes, cpus)
    ragged = list(_page_findings(nodes, page_size))
    yield from ragged
    with_map = [n for n, node in enumerate(nodes) if node.memory_map]
    if not any(node.memory for node in nodes):
        yield finding(("nodes",), "nodes_memory")
    if ragged or not any(node.memory for node in nodes):
        return
    wrong = list(_map_findings(nodes)) if with_map else []
    yield from wrong
    total = sum(node.memory for node in nodes)
    if not wrong and with_map and memory_map != tuple(ram for node in nodes for ram in node.memory_map or ()):
        yield finding(("memory_map",), "left_out", needs=("nodes",), key="nodes[].memory_map")
    elif not wrong and total != memory:
        yield finding(("memory",), "nodes_agree", needs=("nodes",), total=format_size(total))


def _cpu_findings(nodes: Nodes, cpus: int) -> Iterator[Finding]:
    """CPUs that are on two nodes, on none, or not there."""
    node_of: dict[int, int] = {}
    is_known = True
    for n, node in enumerate(nodes):
        at = ("nodes", n, "cpus")
        twice = [cpu for cpu in node.cpus if node_of.setdefault(cpu, n) != n]
        beyond = [cpu for cpu in node.cpus if cpu >= cpus]
        if twice:
            yield finding(at, "cpu_node_twice", found=str(twice[0]), node=node_of[twice[0]])
        elif len(set(node.cpus)) < len(node.cpus):
            yield finding(at, "cpu_twice")
        elif beyond:
            yield finding(at, "cpu_machine", needs=("cpus",), found=str(beyond[0]), last=cpus - 1)
        is_known = is_known and not beyond
    missing = [cpu for cpu in range(cpus) if cpu not in node_of]
    if missing and is_known:
        yield finding(("nodes",), "cpu_no_node", needs=("cpus",), found=f"{numbers_text(missing)} on none")


def _page_findings(nodes: Nodes, page_size: int) -> Iterator[Finding]:
    """Sizes and addresses that are no whole number of pages."""
    page = format_size(page_size)
    for n, node in enumerate(nodes):
        if node.memory % page_size:
            yield finding(("nodes", n, "memory"), "page_multiple", page=page)
        for k, ram in enumerate(node.memory_map or ()):
            for key in ("start", "size"):
                if getattr(ram, key) % page_size:
                    yield finding(("nodes", n, "memory_map", k, key), "page_multiple", page=page)


def _map_findings(nodes: Nodes) -> Iterator[Finding]:
    """Ranges of nodes that are not behind those before them, or are not of the size that the node says."""
    end = 0
    for n, node in enumerate(nodes):
        if node.memory and not node.memory_map:
            yield finding(("nodes", n, "memory"), "comes_with", what="memory_map, as another node has one")
            continue
        for k, ram in enumerate(node.memory_map or ()):
            if ram.start < end:
                rule = "range_order" if k else "node_order"
                yield finding(("nodes", n, "memory_map", k, "start"), rule, end=format_size(end))
            end = max(end, ram.end)
        total = sum(ram.size for ram in node.memory_map or ())
        if not 0 <= node.memory - total <= FIRMWARE_HOLES_MAX:
            yield finding(("nodes", n, "memory"), "map_agrees", total=format_size(total))


def distances_findings(distances: tuple[tuple[int, ...], ...], nodes: Nodes | None) -> Iterator[Finding]:
    """Distances that are not one for each pair of nodes, or not the same in both directions."""
    if nodes is None:
        yield finding(("distances",), "comes_with", needs=("nodes",), what="nodes")
        return
    if len(distances) != len(nodes):
        yield finding(("distances",), "items", needs=("nodes",), count=len(nodes))
        return
    short = [n for n, row in enumerate(distances) if len(row) != len(nodes)]
    for n in short:
        yield finding(("distances", n), "items", needs=("nodes",), count=len(nodes))
    if short:
        return
    for n, row in enumerate(distances):
        if row[n] != LOCAL_DISTANCE:
            yield finding(("distances", n, n), "distance_local", distance=LOCAL_DISTANCE)
        for other in range(n):
            if row[other] != distances[other][n]:
                yield finding(("distances", n, other), "distance_symmetric", distance=distances[other][n])
            elif row[other] <= LOCAL_DISTANCE:
                yield finding(("distances", n, other), "above", limit=LOCAL_DISTANCE)
