"""How far the lines come that a CPU touches: from the caches and the memory of other nodes."""

import pytest

from kmsim.jit import entry
from kmsim.mm import cacheline, zone_lines
from kmsim.mm.mmzone import ZONE_NORMAL, Machine, node_zone

from .node_machines import BLOCK, machine

RING = [[10, 21, 31, 21], [21, 10, 21, 31], [31, 21, 10, 21], [21, 31, 21, 10]]
KINDS = ("other", "other_max", "memory", "memory_max", "shared")


@entry
def touch(m: Machine, cpu: int, pfn: int) -> None:
    """`cacheline.touch`, for Python."""
    cacheline.touch(m, cpu, pfn)


@entry
def touch_block(m: Machine, cpu: int, pfn: int, order: int) -> None:
    """`cacheline.touch_block`, for Python."""
    cacheline.touch_block(m, cpu, pfn, order)


@entry
def read_count(m: Machine, cpu: int, z: int) -> None:
    """`zone_lines.read_count`, for Python."""
    zone_lines.read_count(m, cpu, z)


@entry
def write_count(m: Machine, cpu: int) -> None:
    """`zone_lines.write_count`, for Python."""
    zone_lines.write_count(m, cpu)


@entry
def write_lists(m: Machine, cpu: int, nr_blocks: int) -> None:
    """`zone_lines.write_lists`, for Python."""
    zone_lines.write_lists(m, cpu, nr_blocks)


@entry
def read_lists(m: Machine, cpu: int, z: int) -> None:
    """`zone_lines.read_lists`, for Python."""
    zone_lines.read_lists(m, cpu, z)


def beyond(m: Machine) -> dict[str, int]:
    """What was counted since the last look, without zeros."""
    counts = {kind: int(m.work[0][f"beyond_{kind}"]) for kind in KINDS}
    m.work[0] = 0
    return {kind: count for kind, count in counts.items() if count}


@pytest.fixture
def m() -> Machine:
    """Four nodes in a ring, a CPU and a block of 4 MiB on each, and a fifth CPU on the first."""
    m = machine([1, 1, 1, 1], [0, 1, 2, 3, 0], RING)
    m.pages["toucher"] = 0  # as a boot leaves it
    beyond(m)
    return m


def first_page(n: int) -> int:
    """The first page of a node."""
    return BLOCK * (1 + n)


def test_a_page_of_the_own_node_is_not_far(m: Machine) -> None:
    touch(m, 1, first_page(1))
    touch_block(m, 0, first_page(0), 4)
    assert beyond(m) == {}


def test_a_struct_page_in_no_cache_comes_from_its_own_node(m: Machine) -> None:
    touch(m, 0, first_page(1))
    touch(m, 0, first_page(2))
    assert beyond(m) == {"memory": 11 + 21, "memory_max": 21}


def test_one_that_a_cpu_has_comes_from_that_cpu_wherever_its_memory_is(m: Machine) -> None:
    touch(m, 2, first_page(0))
    beyond(m)
    touch(m, 0, first_page(0))
    assert beyond(m) == {"other": 21, "other_max": 21}
    touch(m, 4, first_page(0))
    assert beyond(m) == {}, "from a CPU of the own node"


def test_the_pages_of_a_block_come_together(m: Machine) -> None:
    touch_block(m, 0, first_page(1), 4)
    assert beyond(m) == {"memory": 16 * 11, "memory_max": 11}
    touch_block(m, 3, first_page(1), 4)
    assert beyond(m) == {"other": 16 * 11, "other_max": 11}, "from CPU 0, two nodes away from the page"


def test_a_zones_count_comes_from_who_had_it_last(m: Machine) -> None:
    z = node_zone(m, 0, ZONE_NORMAL)
    for cpu in range(5):
        m.contexts[cpu].zone = z
    write_count(m, 0)
    beyond(m)
    read_count(m, 4, z)
    assert beyond(m) == {}
    read_count(m, 2, z)
    assert beyond(m) == {"other": 21, "other_max": 21}
    write_count(m, 0)
    assert beyond(m) == {"shared": zone_lines.LINES_OF_COUNT * 21}, "the last reader is waited for"
    write_count(m, 1)
    assert beyond(m) == {"other": zone_lines.LINES_OF_COUNT * 11, "other_max": 11}


def test_a_zones_lists_come_from_who_had_them_last(m: Machine) -> None:
    z = node_zone(m, 0, ZONE_NORMAL)
    for cpu in range(5):
        m.contexts[cpu].zone = z
    write_lists(m, 1, 1)
    beyond(m)
    read_lists(m, 0, z)
    assert beyond(m) == {"other": 11, "other_max": 11}
    write_lists(m, 3, 5)
    assert beyond(m) == {"shared": 5 * 11}


def test_on_one_node_nothing_is_counted() -> None:
    m = machine([2], [0, 0])
    beyond(m)
    for cpu in (0, 1):
        touch(m, cpu, first_page(0))
        touch_block(m, cpu, first_page(0), 4)
    assert beyond(m) == {}
