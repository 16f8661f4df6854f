"""Where zones lie on machines of several nodes, and where ZONE_MOVABLE begins on each."""

import pytest

from kmsim.mm.memblock import boot_machine, recount, zone_bounds
from kmsim.mm.mm_init import (
    NO_MOVABLE,
    ZONE_ENDS,
    BootNode,
    MovableShare,
    PfnRange,
    arch_zones,
    find_zone_movable_pfns_for_nodes,
)
from kmsim.mm.mmzone import Machine, pcps_of_zone
from kmsim.mm.zone_names import populated_zones

from .machines import boot_of

BLOCK = 1024  # pages of the largest block
FOUR_GIB = 1 << 20


def node(*pieces: tuple[int, int], cpus: tuple[int, ...] = ()) -> BootNode:
    """A node with these ranges of page frames."""
    return BootNode(tuple(PfnRange(*piece) for piece in pieces), cpus)


def ram_of(nodes: tuple[BootNode, ...]) -> tuple[PfnRange, ...]:
    """The RAM of all nodes."""
    return tuple(piece for one in nodes for piece in one.ram)


def booted(*nodes: BootNode, **changes: object) -> Machine:
    """A machine of these nodes, all of it free."""
    nr_cpus = sum(len(one.cpus) for one in nodes)
    m = boot_machine(boot_of(nodes=nodes, ram=ram_of(nodes), nr_nodes=len(nodes), nr_cpus=nr_cpus, **changes))
    recount(m)
    return m


def spans(m: Machine) -> dict[tuple[int, str], tuple[int, int, int]]:
    """First frame, frames spanned and pages present of each populated zone."""
    zones = {name: m.zones[z] for name, z in populated_zones(m).items()}
    return {
        name: (int(zone.start_pfn), int(zone.end_pfn - zone.start_pfn), int(zone.present_pages))
        for name, zone in zones.items()
    }


def movable_pfns(nodes: tuple[BootNode, ...], arch: str = "x86-64", **share: int) -> list[int]:
    """Where ZONE_MOVABLE begins."""
    zones = arch_zones(ZONE_ENDS[arch], 12, ram_of(nodes))
    return find_zone_movable_pfns_for_nodes(zones, nodes, MovableShare(**share), BLOCK)


def test_a_node_has_the_zones_that_reach_into_its_memory() -> None:
    below = node((1, 159), (256, 131072), cpus=(0, 1))
    across = node((131072, 196575), (FOUR_GIB, FOUR_GIB + 65536), cpus=(2, 3))
    boot = boot_of(arch="x86-64", nodes=(below, across), ram=ram_of((below, across)), nr_nodes=2, nr_cpus=4)
    assert zone_bounds(boot)[0][:3] == [(1, 4096), (4096, 131072), (131072, 131072)]
    dma, dma32, normal, movable = zone_bounds(boot)[1]
    assert (dma32, normal) == ((131072, FOUR_GIB), (FOUR_GIB, FOUR_GIB + 65536))
    assert dma.start == dma.end
    assert movable.start == movable.end


def test_a_board_whose_dma_ends_at_1_gib_has_dma32_up_to_4() -> None:
    """As Linux says it at boot on a Raspberry Pi 4 of 8 GiB: DMA to 0x3fffffff, DMA32 to 0xffffffff, then Normal."""
    gib = 1 << 18  # in pages of 4 KiB
    zones = arch_zones((1 << 30, 4 << 30, 8 << 30, 1 << 52), 12, [PfnRange(0, 8 * gib)])
    assert zones == [(0, gib), (gib, 4 * gib), (4 * gib, 8 * gib), (8 * gib, 8 * gib)]
    assert arch_zones(ZONE_ENDS["arm64"], 12, [PfnRange(0, 8 * gib)])[:2] == [(0, 4 * gib), (4 * gib, 4 * gib)]


def test_nodes_without_memory_or_without_cpus_boot() -> None:
    m = booted(node((0, 8192), cpus=(1,)), node(cpus=(0, 2)), node((8192, 16384)))
    assert spans(m) == {(0, "DMA"): (0, 8192, 8192), (2, "DMA"): (8192, 8192, 8192)}
    assert m.cpus["node"].tolist() == [1, 0, 1]
    sizes = {node: pcps_of_zone(m, z)["high_max"].tolist() for (node, _), z in populated_zones(m).items()}
    assert sizes == {0: [1024] * 3, 2: [1024 // 3] * 3}, "its one CPU's, and everybody's where there is none"


def test_a_border_inside_the_largest_block_divides_it() -> None:
    m = booted(node((0, 5000), cpus=(0,)), node((5000, 16384), cpus=(1,)))
    assert m.zones["nr_free_pages"].sum() == 16384
    assert {name: size for name, (_, size, _) in spans(m).items()} == {(0, "DMA"): 5000, (1, "DMA"): 11384}


def test_what_the_boot_gives_back_late_is_managed_by_its_own_node() -> None:
    m = booted(node((0, 8192), cpus=(0,)), node((8192, 16384), cpus=(1,)), released=(PfnRange(9000, 9100),))
    assert [int(zone.managed_pages) for zone in m.zones if zone.present_pages] == [8192, 8192]


def test_distances_are_those_that_firmware_says() -> None:
    nodes = (node((0, 8192), cpus=(0,)), node((8192, 16384), cpus=(1,)))
    assert booted(*nodes, distances=((10, 31), (31, 10))).nodes["distance"][:, :2].tolist() == [[10, 31], [31, 10]]
    assert booted(*nodes).nodes["distance"][:, :2].tolist() == [[10, 20], [20, 10]]


def test_movablecore_takes_the_upper_part_of_a_node() -> None:
    """A kernel with 1 GiB and movablecore=256M was recorded to have these zones."""
    m = booted(
        node((1, 159), (256, 262111), cpus=(0, 1)), arch="x86-64", movable=MovableShare(movablecore=65536), numa=True
    )
    assert spans(m) == {
        (0, "DMA"): (1, 4095, 3998),
        (0, "DMA32"): (4096, 192512, 192512),
        (0, "Movable"): (196608, 65503, 65503),
    }


@pytest.mark.parametrize(
    ("share", "begins"),
    [
        ({}, [NO_MOVABLE, NO_MOVABLE]),
        ({"kernelcore": 40_000}, [20_480, 53_248]),  # 20,000 pages of each, then to the next largest block
        ({"kernelcore": 65_536}, [NO_MOVABLE, NO_MOVABLE]),
        ({"movablecore": 1}, [NO_MOVABLE, NO_MOVABLE]),  # one block, of which half a one on each node rounds to none
        ({"movablecore": 8 * BLOCK}, [28 * BLOCK, 60 * BLOCK]),
        ({"movablecore": 8 * BLOCK, "kernelcore": 40_000}, [28 * BLOCK, 60 * BLOCK]),
        ({"movablecore": 40 * BLOCK, "kernelcore": 40_000}, [20_480, 53_248]),
        ({"movablecore": 1 << 30}, [NO_MOVABLE, NO_MOVABLE]),  # more than there is: nothing is left to ask for
    ],
)
def test_kernel_memory_is_spread_evenly(share: dict[str, int], begins: list[int]) -> None:
    nodes = (node((0, 32_768)), node((32_768, 65_536)))
    assert movable_pfns(nodes, "arm64", **share) == begins


def test_a_small_node_is_the_kernels_and_the_others_make_up_for_it() -> None:
    nodes = (node((0, 4 * BLOCK)), node(), node((4 * BLOCK, 36 * BLOCK)), node((36 * BLOCK, 68 * BLOCK)))
    assert movable_pfns(nodes, "arm64", kernelcore=30 * BLOCK) == [NO_MOVABLE, NO_MOVABLE, 17 * BLOCK, 49 * BLOCK]


def test_zones_below_the_highest_are_the_kernels() -> None:
    """4 GiB with 2 GiB of kernel memory: all of that is in DMA and DMA32, and Normal is movable."""
    nodes = (node((1, 159), (256, 524_288), (FOUR_GIB, FOUR_GIB + 524_288)),)
    assert movable_pfns(nodes, kernelcore=500_000) == [FOUR_GIB]
    assert movable_pfns(nodes, kernelcore=524_190 + 8 * BLOCK) == [FOUR_GIB + 8 * BLOCK]
