"""The pages of a block behind its first: walked when it is freed, and when it becomes a compound page."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import Machine

from . import drivers
from .machines import M, machine_with

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
COMPOUND = parse_gfp("GFP_HIGHUSER_MOVABLE | __GFP_COMP")


def machine(*, tails_written: bool = True) -> Machine:
    """One of 16 MiB, all of it free."""
    return machine_with({(10, M): [0, 1024, 2048, 3072]}, thp_built_in=False, tails_written=tails_written)


def lines(m: Machine) -> int:
    """The struct pages touched so far."""
    work = m.work[0]
    return int(work.lines_hot + work.lines_other + work.lines_sequential + work.lines_memory)


def freed(*, tails_written: bool, order: int) -> tuple[int, int]:
    """The pages that a free walks, and the lines that it touches more than one that only counts them."""
    found = []
    for written in (tails_written, False):
        m = machine(tails_written=written)
        pfn = drivers.alloc(m, 0, MOVABLE, order)
        m.work[0] = 0
        drivers.free(m, 0, pfn, order)
        found.append((int(m.work[0].tails_walked), lines(m)))
    return found[0][0], found[0][1] - found[1][1]


@pytest.mark.parametrize("order", [0, 1, 3, 4, 9])
def test_a_free_writes_every_page_behind_the_first(order: int) -> None:
    nr_tails = (1 << order) - 1
    assert freed(tails_written=True, order=order) == (nr_tails, nr_tails + 1 if order else 0)  # the first once more


@pytest.mark.parametrize("order", [0, 3, 9])
def test_or_only_counts_them(order: int) -> None:
    assert freed(tails_written=False, order=order) == ((1 << order) - 1, 0)


@pytest.mark.parametrize("order", [0, 2, 4])
def test_a_compound_page_is_walked_once_more(order: int) -> None:
    found = []
    for gfp in (MOVABLE, COMPOUND):
        m = machine()
        drivers.alloc(m, 0, gfp, order)
        found.append((int(m.work[0].tails_walked), lines(m)))
    nr_tails = (1 << order) - 1
    assert found[1] == (found[0][0] + nr_tails, found[0][1] + nr_tails)
