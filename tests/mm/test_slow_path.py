"""A request that finds no page wants the slow path, whoever asks; until there is one, what follows is a failure."""

import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import NEEDS_SLOW_PATH, NO_PAGE, NOPAGE, Machine
from kmsim.mm.page_alloc import alloc_begin, resume
from kmsim.mm.wants import DONE, LOCK, SLOW_PATH
from tests.mm import drivers
from tests.mm.test_page_exact import GFP_KERNEL, plain_machine


@entry
def begin(m: Machine, gfp: int, order: int) -> int:
    """What an allocation wants first."""
    return alloc_begin(m, 0, gfp, order)


@entry
def go_on(m: Machine) -> int:
    """What it wants then."""
    return resume(m, 0)


def wants_of(m: Machine, gfp: int, order: int) -> list[int]:
    """All that an allocation wants, one after the other."""
    wants = [begin(m, gfp, order)]
    while wants[-1] != DONE:
        wants.append(go_on(m))
    return wants


def exhaust(m: Machine, gfp: int) -> None:
    """Allocate until there is nothing left for these flags."""
    while drivers.alloc(m, 0, gfp, 0) != NO_PAGE:
        pass


@pytest.mark.slow
def test_a_request_that_may_reclaim_wants_the_slow_path_and_fails_without_one() -> None:
    m = plain_machine()
    exhaust(m, GFP_KERNEL)
    failed = int(m.events[NEEDS_SLOW_PATH])
    assert wants_of(m, GFP_KERNEL, 0) == [SLOW_PATH, DONE]
    assert m.contexts[0].pfn == NO_PAGE
    assert m.contexts[0].failure == NEEDS_SLOW_PATH
    assert m.events[NEEDS_SLOW_PATH] == failed + 1


def test_one_that_may_not_fails_at_once() -> None:
    m = plain_machine()
    atomic = parse_gfp("GFP_ATOMIC")
    exhaust(m, atomic)
    assert SLOW_PATH not in wants_of(m, atomic, 0)
    assert m.contexts[0].failure == NOPAGE


def test_the_slow_path_may_follow_a_lock() -> None:
    m = plain_machine()
    largest = int(m.params[0].max_page_order)
    wants = wants_of(m, GFP_KERNEL, largest)
    while m.contexts[0].pfn != NO_PAGE:
        wants = wants_of(m, GFP_KERNEL, largest)
    assert wants[-2:] == [SLOW_PATH, DONE]
    assert set(wants) <= {LOCK, SLOW_PATH, DONE}
