"""Each thing that `slub_recount.validate_slub` looks at, broken by hand: it must say so."""

import ast
import inspect
from collections.abc import Callable
from random import Random

import pytest

from kmsim.mm import slub_recount
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.slub_records import END, SLAB_FROZEN, SLAB_LIVE, SLAB_NODE_PARTIAL

from . import slub_drivers
from .machines import boot_of
from .slub_pair import SlubPair, geometry_of

GFP_KERNEL = parse_gfp("GFP_KERNEL")


def used() -> SlubPair:
    """Two CPUs, two caches: a cpu slab, a CPU's list of two, a node's list of two, and full slabs."""
    pair = SlubPair(boot_of(), [geometry_of(12, 1024, 0, partial=(2, 5))] * 2, None, Random(1))
    pair.cpu = 1
    pair.alloc(1, GFP_KERNEL)
    pair.cpu = 0
    for _ in range(34):
        pair.alloc(0, GFP_KERNEL)
    objects = pair.held[1:]
    for place in (0, 4, 8, 12, 13, 33):  # one of each slab: drained with the fourth
        pair.free(*objects[place])
    return pair


def node_slab(pair: SlubPair, place: int = 0) -> int:
    """A slab of the node's list."""
    slab = int(pair.sl.cache_nodes[0].partial_first)
    return slab if place == 0 else int(pair.sl.slabs[slab].next)


def flags(pair: SlubPair, slab: int, value: int) -> None:
    pair.sl.slabs[slab].slab_flags = value


def back_link(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair, 1)].prev = 99


def last_link(pair: SlubPair) -> None:
    pair.sl.cache_nodes[0].partial_last = 99


def node_cache(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair)].cache = 1


def node_flag(pair: SlubPair) -> None:
    flags(pair, node_slab(pair), SLAB_LIVE)


def node_full(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair)].freelist = END


def nr_partial(pair: SlubPair) -> None:
    pair.sl.cache_nodes[0].nr_partial += 1


def no_slab(pair: SlubPair) -> None:
    pair.sl.cpu_slabs[1].freelist = 5


def thawed(pair: SlubPair) -> None:
    flags(pair, int(pair.sl.cpu_slabs[0].slab), SLAB_LIVE)


def cpu_cache(pair: SlubPair) -> None:
    pair.sl.slabs[int(pair.sl.cpu_slabs[0].slab)].cache = 1


def first_object(pair: SlubPair) -> None:
    pair.sl.cpu_slabs[0].first_object += 8


def partial_flag(pair: SlubPair) -> None:
    flags(pair, int(pair.sl.cpu_slabs[0].partial), SLAB_LIVE | SLAB_NODE_PARTIAL)


def partial_full(pair: SlubPair) -> None:
    pair.sl.slabs[int(pair.sl.cpu_slabs[0].partial)].freelist = END


def partial_length(pair: SlubPair) -> None:
    pair.sl.slabs[int(pair.sl.cpu_slabs[0].partial)].prev += 1


def nr_slabs(pair: SlubPair) -> None:
    pair.sl.cache_nodes[0].nr_slabs += 1


def nr_objects(pair: SlubPair) -> None:
    pair.sl.cache_nodes[0].total_objects += 1


def page_flag(pair: SlubPair) -> None:
    pair.m.pages[int(pair.sl.slabs[0].pfn)].page_flags = 0


def page_slab(pair: SlubPair) -> None:
    pair.m.pages[int(pair.sl.slabs[0].pfn)].next = 1


def page_order(pair: SlubPair) -> None:
    pair.m.pages[int(pair.sl.slabs[0].pfn)].order = 1


def chunk(pair: SlubPair) -> None:
    pair.sl.slab_of_chunk[0] = 1


def odd_first(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair)].first_object += 1


def inuse(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair)].inuse -= 1


def lost(pair: SlubPair) -> None:
    pair.sl.links[pair.held[1 + 5][0]] = END


def leaves(pair: SlubPair) -> None:
    pair.sl.slabs[node_slab(pair)].freelist = 4


def circle(pair: SlubPair) -> None:
    record = pair.sl.slabs[node_slab(pair)]
    pair.sl.links[int(record.first_object) + int(record.freelist)] = int(record.freelist)


def allocated(pair: SlubPair) -> None:
    record = pair.sl.slabs[node_slab(pair)]
    record.freelist = (int(record.freelist) + 1) % 4


def negative(pair: SlubPair) -> None:
    pair.sl.cpu_slabs[0].nr_hot = -1


def unlisted(pair: SlubPair) -> None:
    pair.sl.cpu_slabs[0].partial = -1


BROKEN: list[tuple[Callable[[SlubPair], None], str]] = [
    (back_link, "the node's list's links disagree"),
    (last_link, "the node's list's links disagree"),
    (node_cache, "a slab is on the list of another cache"),
    (node_flag, "a slab on the node's list is not flagged so"),
    (node_full, "a full slab is on the node's list"),
    (nr_partial, "nr_partial differs from the list"),
    (no_slab, "a CPU has free objects but no slab"),
    (thawed, "a cpu slab is not frozen"),
    (cpu_cache, "a cpu slab is of another cache"),
    (first_object, "a cpu slab's first object is another slab's"),
    (partial_flag, "a slab on a CPU's list is flagged otherwise"),
    (partial_full, "a full slab is on a CPU's list"),
    (partial_length, "a CPU's partial list is not as long as it says"),
    (nr_slabs, "nr_slabs differs from the slabs"),
    (nr_objects, "total_objects differs from the slabs"),
    (page_flag, "a slab's page does not say so"),
    (page_slab, "a slab's page names another slab"),
    (page_order, "a slab's page has another order"),
    (chunk, "a chunk belongs to another slab"),
    (odd_first, "a slab's objects do not begin with a chunk"),
    (inuse, "inuse differs from the free list"),
    (lost, "free objects are on no list"),
    (leaves, "a free list leaves its slab"),
    (circle, "a free list runs in a circle"),
    (allocated, "an allocated object is on a free list"),
    (negative, "a negative number of hot objects"),
    (unlisted, "a slab with free objects is on no list"),
]


@pytest.mark.parametrize(("breaks", "message"), BROKEN)
def test_a_broken_slab_allocator_is_refused(breaks: Callable[[SlubPair], None], message: str) -> None:
    pair = used()
    breaks(pair)
    with pytest.raises(AssertionError, match=message):
        slub_drivers.recount(pair.m, pair.sl)


def test_every_message_is_reached() -> None:
    messages = {
        ast.literal_eval(node.msg)
        for node in ast.walk(ast.parse(inspect.getsource(slub_recount)))
        if isinstance(node, ast.Assert) and node.msg is not None
    }
    assert messages == {message for _, message in BROKEN}


def test_the_machine_to_break_has_every_kind_of_slab() -> None:
    pair = used()
    sl = pair.sl
    assert sl.cache_nodes[0].nr_partial >= 2
    assert sl.cpu_slabs[0].partial >= 0
    assert sl.cpu_slabs[0].freelist >= 0
    assert sl.slabs[int(sl.cpu_slabs[0].slab)].slab_flags & SLAB_FROZEN
