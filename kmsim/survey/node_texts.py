"""What texts say of NUMA nodes: files of /sys/devices/system/node, and what `numactl -H` and `lscpu` print.

Leaves out memory of nodes, which zones say, and which nodes are simulated (`survey.nodes`).
"""

import re

from kmsim.procfs.text import refusal, shown

NUMBER_MAX = 1 << 16  # of CPUs: no kernel has so many
_NODE = re.compile(r"node(\d{1,4})/")
_RANGE = re.compile(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*")
_NUMACTL_CPUS = re.compile(r"^node (\d{1,4}) cpus:([ \d]*)$", re.MULTILINE)
_LSCPU_CPUS = re.compile(r"^ *NUMA node(\d{1,4}) CPU\(s\): *([\d,-]*) *$", re.MULTILINE)
_ROW = re.compile(r"^ *(\d{1,4}): +(\d{1,3}(?: +\d{1,3})*) *$", re.MULTILINE)


def node_of(path: str) -> int:
    """The node that a file below /sys/devices/system/node is of."""
    said = _NODE.findall(path)
    assert said, "files of nodes are known by their paths"
    return int(said[-1])


def cpus_in(words: str) -> list[int]:
    """The CPUs of a list such as 0-3,8; ValueError where it is none."""
    cpus: list[int] = []
    for part in words.split(",") if words else ():
        found = _RANGE.fullmatch(part)
        if found is None:
            raise refusal(1, f"{shown(words)} is no list of CPUs")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < NUMBER_MAX:
            raise refusal(1, f"{shown(words)} is no list of CPUs")
        cpus += range(first, last + 1)
    return cpus


def distances_in(content: str) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """The CPUs of each node, and the distances from each to all, of what numactl or lscpu prints."""
    lines = "\n".join(line.rstrip() for line in content.splitlines())
    cpus = {int(node): tuple(map(int, words.split())) for node, words in _NUMACTL_CPUS.findall(lines)}
    cpus |= {int(node): tuple(cpus_in(words)) for node, words in _LSCPU_CPUS.findall(lines)}
    return cpus, {int(node): tuple(map(int, row.split())) for node, row in _ROW.findall(lines)}
