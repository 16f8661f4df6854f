"""The largest kmalloc: what the allocator itself answers, on fresh, aged and nearly full machines."""

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.ask import allocate, can_allocate
from kmsim.sim.run.boot import machine_of
from kmsim.study.largest import largest_kmalloc_bytes

SHAPES = [("x86-64", "4KiB", 10), ("x86-64", "4KiB", 15), ("arm64", "16KiB", 7), ("arm64", "64KiB", 11)]
AGED = [{"block": "1MiB", "unusable_index": 0.7}, {"block": "256KiB", "unusable_index": 1}]
STATES = ["fresh", *({"aged": target} for target in AGED)]


def machine(arch: str, page_size: str, max_page_order: int, state: object) -> Machine:
    shape = {"arch": arch, "page_size": page_size, "max_page_order": max_page_order, "cpus": 2, "memory": "1GiB"}
    config = {"machine": shape | {"thp": {"built_in": False}, "state": state}, "workload": {"threads": [{"name": "a"}]}}
    return machine_of(from_mapping(config).machine, 1)


def asked(m: Machine) -> int:
    """The allocator's own answer."""
    orders = [order for order in range(int(m.params[0].max_page_order), -1, -1) if can_allocate(m, order)]
    return 1 << int(m.params[0].page_shift) + orders[0] if orders else 0


@pytest.mark.parametrize("state", STATES, ids=["fresh", "aged", "no large block"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_what_the_allocator_would_give(shape: tuple[str, str, int], state: object) -> None:
    m = machine(*shape, state)
    found = largest_kmalloc_bytes(m)
    assert found == asked(m)
    assert found > 0


def test_a_full_machine_has_none_although_pages_are_free_below_the_watermark() -> None:
    m = machine("x86-64", "4KiB", 10, "fresh")
    sizes, steps = set(), 0
    rng = np.random.default_rng(1)
    while largest_kmalloc_bytes(m):
        largest = largest_kmalloc_bytes(m)
        sizes.add(largest)
        allocate(m, 0, 0xCC0, int(rng.integers((largest >> 12).bit_length())))
        assert largest_kmalloc_bytes(m) <= largest
        steps += 1
        if steps % 500 == 0 and largest > 8 << 12:
            assert largest == asked(m)
    assert m.zones["nr_free_pages"].sum() > 0
    assert max(sizes) == 4 << 20
    assert len(sizes) > 5
    assert not can_allocate(m, 4), "of an order that no per-CPU list holds"
