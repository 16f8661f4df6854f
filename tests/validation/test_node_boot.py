"""The boot of configs with nodes, held against real kernels of the same machines.

Zones, what they span and what of it is present must be equal, and so the zonelists, which follow from the distances.
What the boot keeps for itself is not known to the page: managed pages may differ by that, and marks and sizes of
per-CPU lists, which are shares of the managed pages, by as little.
"""

from pathlib import Path
from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.mm.memblock import boot_machine, recount
from kmsim.mm.mmzone import WMARK_LOW, WMARK_MIN, ZONE_MOVABLE, Machine, pcps_of_zone
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs import recorded
from kmsim.sim.run.boot import boot_of
from kmsim.validate.topology import zonelist

NODES = Path(__file__).parent / "recordings" / "nodes"
HALVES = [{"cpus": "0-1", "memory": "512MiB"}, {"cpus": "2-3", "memory": "512MiB"}]
RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
MACHINES: dict[str, dict[str, Any]] = {
    "1G-c4-full": {"nodes": HALVES},
    "hi-1G-c4-full": {
        "nodes": HALVES,
        "memory_map": [
            {"start": "4KiB", "size": "632KiB"},
            {"start": "1MiB", "size": "785276KiB"},
            {"start": "4GiB", "size": "256MiB"},
        ],
    },
    "movable-1G-c2-full": {"nodes": [{"cpus": "0-1", "memory": "1GiB"}], "movablecore": "256MiB"},
    "n4-1G-c8-proc_numa": {
        "nodes": [{"cpus": f"{cpu}-{cpu + 1}", "memory": "256MiB"} for cpu in (0, 2, 4, 6)],
        "distances": RING,
    },
}
KEPT_PAGES = 200  # by which what a boot keeps of a zone may differ: bounce buffers' slots are not modelled
SHARE = 0.01  # of a mark or a list's size


def booted(name: str) -> Machine:
    """The machine of a recording, booted from a config."""
    keys = {"arch": "x86-64", "thp": {"enabled": "never"}, **MACHINES[name]}
    study = from_mapping({"machine": keys, "workload": {"threads": [{"name": "a"}]}})
    return boot_machine(boot_of(study.machine))


@pytest.mark.parametrize("name", MACHINES)
def test_a_config_with_nodes_boots_as_the_real_kernel(name: str) -> None:
    recording = recorded.read(NODES / f"x86-612-4k-numa-{name}.json.gz")
    m = booted(name)
    recount(m)
    zones = populated_zones(m)
    states = recording.lab["fresh.state"]["state"]
    assert list(zones) == [(state["nid"], state["name"]) for state in states]
    for state in states:
        z = zones[state["nid"], state["name"]]
        zone, pcp = m.zones[z], pcps_of_zone(m, z)[0]
        spanned = (zone.start_pfn, zone.end_pfn - zone.start_pfn, zone.present_pages)
        assert spanned == (state["start_pfn"], state["spanned"], state["present"])
        assert abs(zone.managed_pages - state["managed"]) < KEPT_PAGES
        assert zone.watermark[WMARK_MIN : WMARK_LOW + 2].tolist() == pytest.approx(state["wm"], rel=SHARE, abs=1)
        assert zone.lowmem_reserve.tolist() == pytest.approx(state["lowmem_reserve"], rel=SHARE)
        sizes = [int(pcp[key]) for key in ("high_min", "high_max")]
        assert sizes == pytest.approx([state["pcp"][0][key] for key in ("high_min", "high_max")], rel=SHARE)
        assert pcp.batch == state["pcp"][0]["batch"]
        assert pcp.stat_threshold == state["threshold"]


@pytest.mark.parametrize("name", MACHINES)
def test_its_requests_go_through_the_same_zones(name: str) -> None:
    recording = recorded.read(NODES / f"x86-612-4k-numa-{name}.json.gz")
    m = booted(name)
    for n, node in enumerate(recording.lab["topology"]["nodes"]):
        assert m.cpus["node"][node["cpus"]].tolist() == [n] * len(node["cpus"])
        assert m.nodes[n].distance[: len(m.nodes)].tolist() == node["distance"]
        assert zonelist(m, int(m.nodes[n].zoneref[ZONE_MOVABLE])) == node["fallback"]
        assert zonelist(m, int(m.nodes[n].thisnode_zoneref[ZONE_MOVABLE])) == node["thisnode"]
