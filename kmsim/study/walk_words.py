"""What a walk says of the functions that a request goes through, with the numbers that they have decided by.

A function of `mm` whose docstring names its counterpart in the kernel is a step of a walk if it has words here; the
others (list operations, counters) are within the step that calls them. Words see what the function sees: its
arguments and variables when it returns, and its result; also what is NOTED, `cache_names`, and `why`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kmsim.metrics.gfp_names import gfp_names
from kmsim.mm.gfp import GFP_COMP
from kmsim.mm.mmzone import (
    MIGRATETYPE_NAMES,
    NO_PAGE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_NAMES,
)
from kmsim.mm.slub_steps import ALLOC_SLAB, NEW_OBJECTS
from kmsim.units import format_size

Locals = Mapping[str, Any]
Words = Callable[[Locals, Any], str]

# Functions that are within a step, with what the step's words need of their variables, and how they call it.
NOTED = {
    ("watermark", "is_page_above"): {"usable": "counted"},
    ("watermark", "zone_watermark_ok"): {"free_pages": "counted", "lowest": "lowest"},
}

OF_PAGES = -1  # in `why`, where kmalloc goes to the page allocator; else the number of the cache
_MARKS = {"high": WMARK_HIGH, "low": WMARK_LOW, "min": WMARK_MIN}


def _zone(m: Any, z: int) -> str:
    name = ZONE_NAMES[int(m.zones[z].zone_type)]
    return f"{name} of node {int(m.zones[z].node)}" if len(m.nodes) > 1 else name


def _alloc(at: Locals, _: Any) -> str:
    context = at["m"].contexts[at["ac"]]
    type_ = MIGRATETYPE_NAMES[int(context.migratetype)]
    said = f"order {at['order']}, {gfp_names(int(at['gfp']))}; type {type_}"
    is_of_kmalloc = int(at["gfp"]) & GFP_COMP and OF_PAGES in at["why"]
    return f"{said}; {at['why'][OF_PAGES]}" if is_of_kmalloc else said


def _watermark(at: Locals, enough: Any) -> str:
    """The arithmetic of __zone_watermark_ok, whose parts the reader can add up."""
    m, z, mark = at["m"], at["z"], int(at["mark"])
    reserve = int(m.zones[z].lowmem_reserve[at["highest_zoneidx"]])
    left = int(m.zones[z].nr_free_pages) - (1 << at["order"]) + 1
    kept = left - int(at["counted"])
    held = f" - {kept:,} highatomic" if kept else ""
    marks = m.zones[z].watermark + m.zones[z].watermark_boost
    lowest = int(at.get("lowest", mark))
    name = next((f"{name} mark" for name, of in _MARKS.items() if int(marks[of]) == mark), "mark")
    need = f"{name} {mark:,}" + (f", which the flags lower to {lowest:,}" if lowest < mark else "")
    need += f" + lowmem_reserve {reserve:,}" if reserve else ""
    if not enough:
        is_met = left - kept > lowest + reserve
        need += f", but no block of order {at['order']}" if is_met else ", which is not met"
    return f"zone {_zone(m, z)}: {left:,} pages would be left{held}; {need}: {'go' if enough else 'no'}"


def _pcp(at: Locals, pfn: Any) -> str:
    pcp = at["m"].pcps[at["p"]]
    if pfn == NO_PAGE:
        return f"the CPU's list of order {at['order']} is empty"
    return f"page frame {pfn:#x} from the CPU's list of order {at['order']}; {int(pcp.count):,} pages left on its lists"


def _refill(at: Locals, _: Any) -> str:
    context = at["m"].contexts[at["ac"]]
    moved, order = int(at["m"].work[0].blocks_moved), int(context.order)
    return f"{moved} blocks of order {order} to the CPU's list"


def _smallest(at: Locals, pfn: Any) -> str:
    type_ = MIGRATETYPE_NAMES[int(at["migratetype"])]
    if pfn == NO_PAGE:
        return f"no free block of order {at['order']} or more of type {type_}"
    return _block(pfn, int(at["current_order"]), int(at["order"]), type_)


def _block(pfn: int, found: int, order: int, type_: str) -> str:
    """A block of order `found` of which the request takes one of its order."""
    split = "" if found == order else f", split down to order {order}"
    return f"page frame {pfn:#x}, the head of a block of order {found} of type {type_}{split}"


def _claimed(at: Locals, pfn: Any) -> str:
    """A block smaller than a pageblock only leads to one, whose free blocks all change their type."""
    if pfn == NO_PAGE:
        return "no block of another type to be claimed"
    if at["current_order"] < at["m"].params[0].pageblock_order:
        type_ = MIGRATETYPE_NAMES[int(at["fallback_mt"])]
        return f"page frame {pfn:#x}, from the pageblock of a block of order {at['current_order']} of type {type_}"
    return _stolen(at, pfn)


def _stolen(at: Locals, pfn: Any) -> str:
    if pfn == NO_PAGE:
        return "no other type has a block"
    type_ = MIGRATETYPE_NAMES[int(at["fallback_mt"])]
    return _block(pfn, int(at["current_order"]), int(at["context"].order), type_)


def _claim(at: Locals, pfn: Any) -> str:
    return (
        "not worth claiming"
        if pfn == NO_PAGE
        else f"the pageblock was {MIGRATETYPE_NAMES[int(at['block_mt'])]}, and changes its type"
    )


def _reserve(at: Locals, _: Any) -> str:
    reserved = int(at["m"].zones[at["m"].contexts[at["ac"]].zone].nr_reserved_highatomic)
    return f"the block's pageblock becomes highatomic; {reserved:,} pages of the zone are"


def _free(at: Locals, _: Any) -> str:
    return f"page frame {at['pfn']:#x}, order {at['order']}, zone {_zone(at['m'], at['z'])}"


def _put(at: Locals, _: Any) -> str:
    pcp = at["pcp"]
    return f"to the head of the CPU's list; {int(pcp.count):,} pages on its lists, {int(pcp.high):,} are its high mark"


def _drain(at: Locals, _: Any) -> str:
    return f"blocks from the tails of the CPU's lists to the zone; {int(at['m'].pcps[at['p']].count):,} pages left"


def _merge(at: Locals, _: Any) -> str:
    return f"becomes a block of order {at['order']} at page frame {at['pfn']:#x}"


def _cache(at: Locals, _: Any) -> str:
    cache = at["sl"].caches[at["cache"]]
    shape = f"{int(cache.objects)} objects of {format_size(int(cache.slot_size))} in a slab of order {int(cache.order)}"
    why = f"{at['why'][at['cache']]}; " if at["cache"] in at["why"] else ""
    return f"{at['cache_names'][at['cache']]}: {why}{shape}"


def _object(at: Locals, _: Any) -> str:
    return f"object {int(at['obj']):,}"


def _partial(_: Locals, step: Any) -> str:
    return "the CPU has no partial slab" if step == NEW_OBJECTS else "the first of the CPU's partial slabs"


def _slab_pages(at: Locals, _: Any) -> str:
    context = at["sl"].contexts[at["ac"]]
    return f"pages of order {int(context.page_order)} for a new slab"


def _new_slab(at: Locals, _: Any) -> str:
    return f"slab of page frame {at['pfn']:#x}, {at['objects']} objects"


def _area(at: Locals, _: Any) -> str:
    return f"{format_size(int(at['nr_bytes']))}, {gfp_names(int(at['gfp']))}"


def _plain(words: str) -> Words:
    return lambda _at, _result: words


def _yes_no(yes: str, no: str) -> Words:
    return lambda _at, result: yes if result else no


# By module of `mm` and function.
WORDS: dict[tuple[str, str], Words] = {
    ("page_alloc", "alloc_node_begin"): _alloc,
    ("watermark", "zone_watermark_fast"): _watermark,
    ("pcp", "pcp_take"): _pcp,
    ("pcp", "rmqueue_bulk"): _refill,
    ("buddy", "rmqueue_smallest"): _smallest,
    ("page_alloc", "rmqueue_buddy"): _plain("from the zone's free lists, no per-CPU list"),
    ("fallback", "rmqueue_claim"): _claimed,
    ("fallback", "rmqueue_steal"): _stolen,
    ("fallback", "try_to_steal_block"): _claim,
    ("fallback_moves", "move_to_own_lists"): _yes_no(
        "free pages of another type move to its own lists", "no other type has a block"
    ),
    ("fallback_types", "boost_watermark"): _yes_no("the zone's marks are raised by a pageblock", "the marks stay"),
    ("highatomic", "reserve_highatomic_pageblock"): _reserve,
    ("watermark", "wake_all_kswapds"): _plain("kswapd is woken"),
    ("prep_new_page", "prep_new_pages"): _plain("the pages are checked, zeroed and joined as asked"),
    ("page_alloc", "free_begin"): _free,
    ("pcp", "pcp_put"): _put,
    ("pcp", "free_pcppages_bulk"): _drain,
    ("buddy", "free_one_page"): _merge,
    ("page_alloc", "free_buddy_locked"): _plain("straight to the zone's free lists"),
    ("page_exact", "exact_alloc_begin"): lambda at, _: f"{format_size(int(at['nr_bytes']))}",
    ("page_exact", "make_alloc_exact"): _plain("the block is split, its tail given back"),
    ("page_exact", "exact_free_begin"): lambda at, _: f"{format_size(int(at['nr_bytes']))}, page by page",
    ("bulk", "alloc_bulk_begin"): lambda at, _: f"up to {at['nr_pages']} pages",
    ("slub", "slab_alloc_begin"): _cache,
    ("slub", "slab_free_begin"): _object,
    ("slub", "alloc_slowly"): _plain("the CPU's free list is empty"),
    ("slub", "new_objects"): lambda _, step: (
        "the node has none: a new slab" if step == ALLOC_SLAB else "the node has some"
    ),
    ("slub_alloc", "cpu_partial_slab"): _partial,
    ("slub_new", "alloc_slab_pages"): _slab_pages,
    ("slub_new", "new_slab"): _new_slab,
    ("slub_alloc", "load_freelist"): _plain("the slab is the CPU's, its first object is taken"),
    ("slub_free", "free_slowly"): _plain("to the object's own slab, which is not this CPU's"),
    ("slub_partial", "add_partial"): _plain("the slab joins its node's list"),
    ("slub_partial", "discard_slab"): _plain("the empty slab's pages are given back"),
    ("kvmalloc_steps", "leaves_slab"): _plain("the slab has refused: vmalloc"),
    ("kvmalloc_steps", "free_either"): _plain("an object, a block or an area"),
    ("vmalloc", "vmalloc_begin"): _area,
    ("vm_area", "ask_for_pages"): _plain("the next pages, up to 100 at a time"),
    ("vm_area", "map_pages"): _plain("page-table entries are set"),
    ("vm_area", "new_table"): _plain("a page table is missing, and made"),
    ("vm_space", "start_area"): _plain("addresses from the node's pool, or the free space"),
    ("vmap", "alloc_free_va"): _plain("a free range of addresses, lowest first"),
    ("vmalloc", "vfree_begin"): lambda at, _: f"area {int(at['area'])}",
    ("vfree", "unmap"): _plain("page-table entries are cleared"),
    ("vfree", "free_noflush"): _plain("the addresses are kept until a purge flushes the TLBs"),
    ("vmalloc", "vm_purge_begin"): _plain("the work item that purges"),
}
