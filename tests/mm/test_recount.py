"""Each thing that `recount.validate` looks at, broken by hand: it must say so."""

import ast
import inspect
from collections.abc import Callable

import pytest

from kmsim.mm import recount
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import PG_BUDDY, PG_PCP, ZONE_DMA, ZONE_NORMAL, Machine

from . import drivers
from .machines import H, M, U, machine_with, pcp_lists, plain_machine

FOUR_GIB = 1 << 20


def used() -> Machine:
    """A machine with free blocks of several orders and pages in a per-CPU list."""
    m = plain_machine()
    drivers.alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 0)
    drivers.alloc(m, 0, parse_gfp("GFP_KERNEL"), 4)
    drivers.recount(m)
    return m


def free_block(m: Machine, order: int, migratetype: int = M) -> int:
    """The first free block of a list."""
    return int(m.pages[int(m.zones[ZONE_DMA].free_list) + order * 4 + migratetype].next)


def unlisted_flag(m: Machine) -> None:
    m.pages[pcp_lists(m, ZONE_DMA, 0)[1][0] - 1].page_flags = PG_PCP


def list_of_heads(m: Machine) -> None:
    head = int(m.zones[ZONE_DMA].free_list)
    m.pages[head].next = head + 1


def wrong_back_link(m: Machine) -> None:
    m.pages[free_block(m, 10)].prev = 77


def wrong_last_link(m: Machine) -> None:
    m.pages[int(m.zones[ZONE_DMA].free_list) + 10 * 4 + M].prev = 77


def wrong_flags(m: Machine) -> None:
    m.pages[free_block(m, 10)].page_flags = PG_PCP


def wrong_order(m: Machine) -> None:
    m.pages[free_block(m, 10)].order = 9


def wrong_count(m: Machine) -> None:
    m.zones[ZONE_DMA].nr_free[10] += 1


def wrong_counter(m: Machine) -> None:
    m.zones[ZONE_DMA].nr_free_pages -= 1


def wrong_delta(m: Machine) -> None:
    m.pcps[1].vm_stat_diff = 3


def wrong_highatomic(m: Machine) -> None:
    m.zones[ZONE_DMA].nr_free_highatomic = 8


def too_few_managed(m: Machine) -> None:
    m.zones[ZONE_DMA].managed_pages = 1000


def wrong_type_of_first(m: Machine) -> None:
    m.pageblocks[free_block(m, 10) >> 9] = U


def wrong_type_of_last(m: Machine) -> None:
    m.pageblocks[(free_block(m, 10) >> 9) + 1] = U


def wrong_pcp_count(m: Machine) -> None:
    m.pcps[0].count -= 1


def covered(m: Machine) -> None:
    m.pages[free_block(m, 10) + 5].page_flags = PG_BUDDY


def wrong_toucher(m: Machine) -> None:
    m.pages[5].toucher = 3


BROKEN: list[tuple[Callable[[Machine], None], str]] = [
    (unlisted_flag, "a page says that it is free but is on no list"),
    (list_of_heads, "a list runs into another list's head"),
    (wrong_back_link, "a list's links disagree"),
    (wrong_last_link, "a list's links disagree"),
    (wrong_flags, "a page is on a list that its flags do not name"),
    (wrong_order, "a block is on the list of another order"),
    (wrong_count, "nr_free differs from the lists"),
    (wrong_counter, "NR_FREE_PAGES differs from the lists"),
    (wrong_delta, "NR_FREE_PAGES differs from the lists"),
    (wrong_highatomic, "nr_free_highatomic differs from the lists"),
    (too_few_managed, "more pages are free than are managed"),
    (wrong_type_of_first, "on the list of another migratetype"),
    (wrong_type_of_last, "on the list of another migratetype"),
    (wrong_pcp_count, "pcp count differs from its lists"),
    (wrong_toucher, "a page was touched by a CPU that is not there"),
    (covered, "a page is in two blocks at once"),
]


@pytest.mark.parametrize(("breaks", "message"), BROKEN)
def test_a_broken_machine_is_refused(breaks: Callable[[Machine], None], message: str) -> None:
    m = used()
    breaks(m)
    with pytest.raises(AssertionError, match=message):
        drivers.recount(m)


PLACED: list[tuple[dict[tuple[int, int], list[int]], dict[int, int], str]] = [
    ({(4, M): [8]}, {}, "a block is not aligned to its size"),
    ({(4, M): [0, 16]}, {}, "two free buddies left apart"),
    ({(4, H): [0, 16]}, {0: H}, "two types in one pageblock"),
    ({(10, M): [16384 - 512]}, {}, "a block is not aligned to its size"),
]


@pytest.mark.parametrize(("lists", "types", "message"), PLACED)
def test_blocks_in_impossible_places_are_refused(
    lists: dict[tuple[int, int], list[int]], types: dict[int, int], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        machine_with(lists, types)


OUTSIDE = [
    ({(10, M): [15360]}, PfnRange(0, 16_000), "a block ends behind its zone"),
    ({(3, M): [0]}, PfnRange(8, 16_384), "a block starts before its zone"),
]


@pytest.mark.parametrize(("lists", "ram", "message"), OUTSIDE)
def test_a_block_outside_its_zone_is_refused(
    lists: dict[tuple[int, int], list[int]], ram: PfnRange, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        machine_with(lists, ram=(ram,))


def test_a_block_of_another_zone_is_refused() -> None:
    m = plain_machine(ram=(PfnRange(FOUR_GIB - 1024, FOUR_GIB + 1024),))
    moved = free_block(m, 10)
    heads = [int(m.zones[z].free_list) + 10 * 4 + M for z in (ZONE_DMA, ZONE_NORMAL)]
    m.pages[heads[0]].next = m.pages[heads[0]].prev = heads[0]
    last = int(m.pages[heads[1]].prev)
    m.pages[last].next = m.pages[heads[1]].prev = moved
    m.pages[moved].prev, m.pages[moved].next = last, heads[1]
    m.zones[ZONE_DMA].nr_free[10] -= 1
    m.zones[ZONE_DMA].nr_free_pages -= 1024
    with pytest.raises(AssertionError, match="a block is on the list of another zone"):
        drivers.recount(m)


def test_whole_pageblocks_may_stay_apart_where_one_is_highatomic() -> None:
    m = machine_with({(9, M): [0], (9, H): [512]}, types={512: H})
    drivers.recount(m)
    assert m.zones[ZONE_DMA].nr_free_highatomic == 512


def test_every_message_is_reached() -> None:
    messages = {
        ast.literal_eval(node.msg)
        for node in ast.walk(ast.parse(inspect.getsource(recount)))
        if isinstance(node, ast.Assert) and node.msg is not None
    }
    reached = {message for _, message in BROKEN} | {message for *_, message in PLACED}
    reached |= {message for *_, message in OUTSIDE} | {"a block is on the list of another zone"}
    assert messages == reached
