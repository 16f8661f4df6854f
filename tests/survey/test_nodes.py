"""The NUMA nodes of a surveyed machine: their CPUs and distances, their numbers, and what is not simulated."""

import re
from pathlib import Path

import pytest

from kmsim.config import ConfigError, loads
from kmsim.session.machine import surveyed
from kmsim.sim.run.boot import machine_of
from kmsim.survey.machine_file import Found, Wishes, text_of
from tests.survey.recorded_texts import RECORDINGS, read

NUMA_HI = RECORDINGS / "nodes" / "x86-612-4k-numa-hi-1G-c4-full.json.gz"
ONE_ZONE = "Node 0, zone   Normal      1      2      3      0      0      0      0      0      0      0      4\n"


def noted(found: Found, what: str) -> bool:
    return any(what in note for note in found.notes)


@pytest.mark.parametrize("kind", ["sysfs", "numactl", "lscpu"])
def test_cpus_and_distances_of_nodes_are_taken_from_what_says_them(kind: str, tmp_path: Path) -> None:
    (tmp_path / "buddyinfo").write_text(ONE_ZONE + ONE_ZONE.replace("Node 0", "Node 1"))
    if kind == "numactl":
        (tmp_path / "numactl").write_text(
            "available: 2 nodes (0-1)\nnode 0 cpus: 0 2\nnode 0 size: 4096 MB\nnode 1 cpus: 1 3\n"
            "node distances:\nnode   0   1 \n  0:  10  21 \n  1:  21  10 \n"
        )
    elif kind == "lscpu":
        (tmp_path / "lscpu").write_text(
            "CPU(s):  4\nNUMA node(s):  2\nNUMA node0 CPU(s):  0,2\nNUMA node1 CPU(s):  1,3\n"
        )
    else:
        for node, cpus, distance in ((0, "0,2\n", "10 21\n"), (1, "1,3\n", "21 10\n")):
            folder = tmp_path / "sys" / "devices" / "system" / "node" / f"node{node}"
            folder.mkdir(parents=True)
            (folder / "cpulist").write_text(cpus)
            (folder / "distance").write_text(distance)
    both = surveyed([tmp_path], None, Wishes())
    assert both.machine["cpus"] == 4
    assert [node["cpus"] for node in both.machine["nodes"]] == ["0,2", "1,3"]
    assert both.machine.get("distances") == (None if kind == "lscpu" else [[10, 21], [21, 10]])
    config = loads(text_of(both)).machine
    assert config.nodes is not None
    assert [node.cpus for node in config.nodes] == [(0, 2), (1, 3)]


def test_nodes_whose_memory_lies_in_turns_and_numbers_with_gaps_are_said(tmp_path: Path) -> None:
    (tmp_path / "buddyinfo").write_text(ONE_ZONE + ONE_ZONE.replace("Node 0", "Node 4"))
    gaps = surveyed([tmp_path / "buddyinfo"], None, Wishes())
    assert [zone.get("node", 0) for zone in gaps.machine["state"]["free_lists"]] == [0, 1]
    assert noted(gaps, "the nodes 0, 4 are called 0 to 1")
    content = read(NUMA_HI).files["fresh.zoneinfo"]
    (tmp_path / "zoneinfo").write_text(re.sub(r"Node ([01])", lambda node: f"Node {1 - int(node[1])}", content))
    one = surveyed([tmp_path / "zoneinfo"], None, Wishes())
    assert noted(one, "of the nodes 0, 1 node 0 is simulated, with all CPUs: their memory lies in turns")
    loads(text_of(one))


@pytest.mark.parametrize(
    ("zones", "why"),
    [
        ("{node: 1, zone: Normal, free: {}}, {node: 1, zone: Normal, free: {}}", r"\[1\].zone: must be different from"),
        ("{node: 16, zone: Normal, free: {}}", r"\[0\].node: must be"),
        ("{node: 1, zone: Normal, free: {}}", "nodes 1, where the machine has node 0 only"),
        (
            "{zone: DMA, free: {}}, {zone: DMA32, free: {}}, {node: 1, zone: DMA32, free: {}}",
            "nodes 0, 1, where the machine",
        ),
    ],
)
def test_free_lists_of_a_node_are_refused_twice_and_where_there_is_none(zones: str, why: str) -> None:
    state = f"{{free_lists: [{zones}]}}"
    text = f"machine: {{arch: x86-64, cpus: 1, memory: 64MiB, state: {state}}}\nworkload: {{threads: [{{name: a}}]}}\n"
    with pytest.raises(ConfigError, match=why):
        machine_of(loads(text).machine, seed=1)
