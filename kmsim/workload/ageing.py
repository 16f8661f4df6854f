"""Ageing: from a booted machine to one as fragmented as asked for.

The measure is the kernel's unusable free space index at an order: the share of free memory that
lies in smaller blocks, here of all zones together (see `mm.vmstat.unusable_free_index`). All of
memory is allocated, in requests of small orders and of every mobility, mixed at random; then some
of it is freed in random order, by the same verbs that every simulated request goes through, so
that the state is one that the kernel could be in. Which blocks are freed decides the index: memory
is seen as *chunks* of 2^order pages, some of which are freed whole; in all others one block stays.

What is left allocated has no owner and is never freed. An aged machine differs from a fresh one in
its free lists and pageblocks only: the per-CPU lists are empty, and their tuning, the boosts and
the event counters are what they were, and no cache holds a struct page (as after a while without
requests). Leaves out: how real workloads fragment memory; the share of memory that is free in the end is
assumed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.drain import drain_all_pages
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import BOOT_CPU, NO_CACHES, NO_PAGE, PAGE_ALLOC_COSTLY_ORDER, PG_BUDDY, Machine, pcps_of_zone
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.snapshot import PCP_FIELDS
from kmsim.mm.vmstat import unusable_free_index

TOLERANCE = 0.01
CHUNK_ORDER_MAX = 20  # 4 GiB of 4 KiB pages
FREE_SHARE = 1 / 3  # of memory, in the end (assumed)

# The requests that fill memory, with their weights (assumed). __GFP_MEMALLOC lets them take all of it.
_REQUESTS = {
    "GFP_HIGHUSER_MOVABLE | __GFP_MEMALLOC": 0.7,
    "GFP_KERNEL | __GFP_MEMALLOC": 0.2,
    "GFP_KERNEL | __GFP_RECLAIMABLE | __GFP_MEMALLOC": 0.1,
}
_BATCH = 1 << 20
_NOT_ALLOCATED = 255  # for an order

Array = NDArray[np.int64]


class Held(NamedTuple):
    """Every allocated block, by pfn, and the chunk that it lies in; chunks are numbered from 0."""

    pfns: Array
    nr_pages: Array
    chunk: Array
    first: Array  # of each chunk, its first block
    is_whole: NDArray[np.bool_]  # of each chunk: could it be one free block?


def age(m: Machine, order: int, unusable_index: float, rng: np.random.Generator) -> None:
    """Fragment a booted machine until its index at `order` is the wanted one, +-0.01.

    Above the machine's largest order, free memory counts as usable where a whole chunk of the order is
    free, in however many blocks: so machines with small largest blocks can be aged alike.
    ValueError says which values this machine can have at that order.
    """
    if not 1 <= order <= CHUNK_ORDER_MAX:
        raise ValueError(f"order {order} is not one from 1 to {CHUNK_ORDER_MAX}")
    if not 0 <= unusable_index <= 1:
        raise ValueError(f"{unusable_index} is not an index from 0 to 1")
    before = m._replace(zones=m.zones.copy(), pcps=m.pcps.copy(), contexts=m.contexts.copy(), events=m.events.copy())
    cache_lines = m.params[0].cache_lines
    m.params[0].cache_lines = NO_CACHES
    held = _held(m, order, _fill(m, order, rng))
    freed = _choose(held, order, unusable_index, rng)
    give(m, held.pfns[freed], held.nr_pages[freed])
    drain(m)
    m.params[0].cache_lines = cache_lines
    _settle(m, before)
    assert _is_near(index_of(m, order), unusable_index), "the index is not the one that was chosen"


def index_of(m: Machine, order: int) -> float:
    """The unusable free space index of all zones together, 0 to 1; of an order beyond the largest, that of chunks."""
    if order <= int(m.params[0].max_page_order):
        return unusable_free_index([int(blocks) for blocks in m.zones["nr_free"].sum(axis=0)], order) / 1000
    heads = np.flatnonzero(m.pages["page_flags"][: int(m.params[0].nr_frames)] & PG_BUDDY)
    free_pages = np.left_shift(1, m.pages["order"][heads].astype(np.int64))
    of_chunks = np.bincount(heads >> order, free_pages)
    return 1 - float(of_chunks[of_chunks == 1 << order].sum()) / max(int(free_pages.sum()), 1)


def _fill(m: Machine, order: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Allocate all of memory in blocks smaller than 2^order; the order of each block by pfn."""
    order_at = np.full(int(m.params[0].nr_frames), _NOT_ALLOCATED, np.uint8)
    orders = np.arange(min(order - 1, PAGE_ALLOC_COSTLY_ORDER) + 1)
    weights = 0.25**orders
    gfps = np.array([parse_gfp(words) for words in _REQUESTS])
    going = True
    while going:
        nr_requests = min(_BATCH, _nr_free_pages(m) + 1)
        wanted_gfps = rng.choice(gfps, nr_requests, p=list(_REQUESTS.values()))
        wanted_orders = rng.choice(orders, nr_requests, p=weights / weights.sum())
        going = take(m, wanted_gfps, wanted_orders, order_at)
    drain(m)  # what is left is on lists of other types and orders
    left = _nr_free_pages(m)
    going = take(m, np.full(left, gfps[0]), np.zeros(left, np.int64), order_at)
    assert going, "a free page that no request gets"
    return order_at


def _is_near(index: float, wanted: float) -> bool:
    return abs(index - wanted) <= TOLERANCE + 1e-9  # 1 is near 0.99, in floating point, too


def _nr_free_pages(m: Machine) -> int:
    nr_free = m.zones["nr_free"].sum(axis=0)
    return int((nr_free << np.arange(len(nr_free))).sum())


def _held(m: Machine, order: int, order_at: NDArray[np.uint8]) -> Held:
    pfns = np.flatnonzero(order_at != _NOT_ALLOCATED)
    nr_pages = np.left_shift(1, order_at[pfns].astype(np.int64))
    chunk_of_frames = pfns >> order
    first = np.flatnonzero(np.diff(chunk_of_frames, prepend=-1))
    is_whole = np.add.reduceat(nr_pages, first) == 1 << order
    starts = [int(zone.start_pfn) for zone in m.zones if zone.present_pages]
    parted = [start >> order for start in starts if start & ((1 << order) - 1)]  # lies in two zones
    is_whole &= ~np.isin(chunk_of_frames[first], parted)
    chunk = np.repeat(np.arange(len(first)), np.diff(first, append=len(pfns)))
    return Held(pfns, nr_pages, chunk, first, is_whole)


def _choose(held: Held, order: int, unusable_index: float, rng: np.random.Generator) -> Array:
    """The blocks to free, in random order: whole chunks, and pieces of others."""
    stays = _stays(held, rng)
    could_go = np.add.reduceat(np.where(stays, 0, held.nr_pages), held.first)  # pages, by chunk
    whole = rng.permutation(np.flatnonzero(held.is_whole))
    room = int(could_go.sum()) - np.concatenate(([0], np.cumsum(could_go[whole])))  # beside n whole chunks
    nr_whole, nr_pieces = _amounts(order, unusable_index, int(held.nr_pages.sum()), room)
    is_freed = np.zeros(len(held.first), np.bool_)
    is_freed[whole[:nr_whole]] = True
    usable = np.flatnonzero(is_freed[held.chunk])
    pieces = _pieces(held, np.flatnonzero(~is_freed[held.chunk] & ~stays), nr_pieces, rng)
    return rng.permutation(np.concatenate((usable, pieces)))


def _stays(held: Held, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One block of every whole chunk, at random: it may not go unless the chunk goes as a whole."""
    ticket = rng.random(len(held.pfns), np.float32)
    lowest = np.minimum.reduceat(ticket, held.first)
    stays: NDArray[np.bool_] = (ticket == lowest[held.chunk]) & held.is_whole[held.chunk]
    return stays


def _amounts(order: int, unusable_index: float, nr_pages: int, room: Array) -> tuple[int, int]:
    """How many whole chunks to free, and how many pages of others; `room[n]`: those beside n chunks."""
    share = unusable_index
    wanted = int(nr_pages * FREE_SHARE)
    most = len(room) - 1
    nr_whole = min(most, max(1, round((1 - share) * wanted / (1 << order)))) if share < 1 else 0
    pieces_per_chunk = share / (1 - share) * (1 << order) if share < 1 else 0.0
    fits = np.flatnonzero(pieces_per_chunk * np.arange(nr_whole + 1) <= room[: nr_whole + 1])
    nr_whole = max(int(fits[-1]), min(nr_whole, 1))
    nr_pieces = min(round(pieces_per_chunk * nr_whole), int(room[nr_whole])) if nr_whole else 0
    if nr_whole and _is_near(nr_pieces * 1000 // (nr_pieces + (nr_whole << order)) / 1000, share):
        return nr_whole, nr_pieces
    if _is_near(1, share):
        return 0, max(1, min(wanted, int(room[0])))
    if most == 0:
        raise ValueError(f"only 1 can be reached: no block of order {order} fits into this memory")
    highest = int(room[1]) / (int(room[1]) + (1 << order))
    raise ValueError(f"only 0 to {highest:.3f} and 1 can be reached at order {order} on this memory")


def _pieces(held: Held, candidates: Array, nr_pages: int, rng: np.random.Generator) -> Array:
    """Some of these blocks, `nr_pages` pages together; single pages make up the rest."""
    mixed = rng.permutation(candidates)
    upto = np.cumsum(held.nr_pages[mixed])
    enough = int(np.searchsorted(upto, nr_pages, side="right"))
    lacking = nr_pages - (int(upto[enough - 1]) if enough else 0)
    behind = mixed[enough:]
    return np.concatenate((mixed[:enough], behind[held.nr_pages[behind] == 1][:lacking]))


def _settle(m: Machine, before: Machine) -> None:
    """Forget how the machine became what it is: fold pending deltas, put tuning and counters back."""
    for z, zone in enumerate(m.zones):
        zone.nr_free_pages += pcps_of_zone(m, z)["vm_stat_diff"].sum()
        zone.watermark_boost = before.zones[z].watermark_boost
        zone.zone_flags = before.zones[z].zone_flags
    m.pcps["vm_stat_diff"] = 0
    for name in PCP_FIELDS:
        if name != "count":
            m.pcps[name] = before.pcps[name]
    m.contexts[:] = before.contexts
    m.events[:] = before.events
    m.work[:] = 0


@entry
def take(m: Machine, gfps: Array, orders: Array, order_at: NDArray[np.uint8]) -> bool:
    """Allocate block after block, and note each one's order; stops, False, where there is no single page."""
    for i in range(len(gfps)):
        pfn = alloc_pages(m, BOOT_CPU, gfps[i], orders[i])
        if pfn != NO_PAGE:
            order_at[pfn] = orders[i]
        elif orders[i] == 0:
            return False
    return True


@entry
def give(m: Machine, pfns: Array, nr_pages: Array) -> None:
    """Free block after block."""
    for i in range(len(pfns)):
        order = 0
        while nr_pages[i] >> order > 1:
            order += 1
        free_pages(m, BOOT_CPU, pfns[i], order)


@entry
def drain(m: Machine) -> None:
    """Empty all per-CPU lists."""
    drain_all_pages(m, BOOT_CPU)
