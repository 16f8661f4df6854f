"""The price list: what each step of the allocator costs on one machine, every price with its source.

The mechanism (``kmsim.mm``) counts steps; these prices turn them into time. A new price is one line
in ``CostsConfig``, one in the shipped lists and one in ``configs/README.md``.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kmsim.config.quantities import Bool, Model, Name, SomeText, Time, WithOptions, count, number, refused, size
from kmsim.config.responses import Api
from kmsim.units import format_time


class Price(WithOptions):
    """What one step costs, where the number comes from (``assumed`` is an answer), and within what it is known."""

    value: Time
    source: SomeText
    low: Time | None = Field(None, description="the lower end of the interval in which the true price lies")
    high: Time | None = Field(None, description="the upper end")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """An interval has two ends; it need not hold the value, which a study may set."""
        if (self.low is None) != (self.high is None):
            raise refused("comes_with", what="both low and high, or neither")
        if self.low is not None and self.high is not None and self.high < self.low:
            raise refused("span", low=format_time(self.low))
        return self


class Count(Model):
    """How many there are, and where the number comes from."""

    value: Annotated[int, count(1)]
    source: SomeText


class LeftOut(Model):
    """How far off the list was on measured mean times that its fit did not see, of one kind of operation.

    Errors are shares of what was measured, in percent, without a sign.
    """

    api: Api = Field(description="the allocator's interface")
    min_order: Annotated[int, count(0, 15)] = 0
    max_order: Annotated[int, count(0, 15)] = 15
    page_size: Annotated[int, size(1)]
    cpus: Literal["one", "several"] = Field(description="whether one CPU asked, or several at once")
    tails_written: Bool = Field(False, description="whether the measured kernel wrote the tail pages of freed blocks")
    init_on_alloc: Bool = Field(False, description="whether it zeroed new memory")
    init_on_free: Bool = Field(False, description="whether it zeroed freed memory")
    points: Annotated[int, count(1)] = Field(description="how many points there are")
    median: Annotated[float, number(low=0)] = Field(
        description="half of the points are off by at most this, in percent"
    )
    nine_of_ten: Annotated[float, number(low=0)] = Field(description="nine of ten are off by at most this, in percent")
    source: SomeText


class CostsConfig(Model):
    """Prices of one machine; ``value`` is in picoseconds once loaded."""

    name: Name
    source: SomeText

    alloc_fast: Price = Field(description="instructions of an allocation outside of locks")
    free_fast: Price = Field(description="instructions of a free outside of locks")
    watermark_check: Price = Field(description="one zone's free pages compared with its watermark")
    lock_uncontended: Price = Field(description="lock taken that nobody holds")
    lock_handover: Price = Field(description="lock handed to a CPU that waits for it, beside its line")
    lock_hold: Price = Field(description="fixed instructions inside of each critical section")
    buddy_split: Price = Field(description="a free block halved once")
    buddy_merge: Price = Field(description="two free buddies joined once")
    page_moved: Price = Field(description="a page or larger block moved between a per-CPU list and the free lists")
    frame_scanned: Price = Field(description="a page frame looked at when a pageblock changes its type")
    page_check: Price = Field(description="one page of a walk over a block")
    zero_byte: Price = Field(description="one byte zeroed")
    line_hot: Price = Field(description="a line of struct page, or of an object, in this CPU's cache")
    line_other: Price = Field(description="a line in another CPU's cache, the miss exposed")
    line_other_overlapped: Price = Field(description="the same, the miss overlapped with another")
    line_sequential: Price = Field(description="a line from memory, prefetched")
    line_memory: Price = Field(description="a line from memory, the miss exposed")
    line_memory_overlapped: Price = Field(description="the same, the miss overlapped with another")
    line_other_remote: Price = Field(description="what line_other adds for each unit of distance beyond the own node")
    line_other_remote_overlapped: Price = Field(description="the same, the miss overlapped with another")
    line_memory_remote: Price = Field(description="what line_memory adds for each unit of distance beyond the own node")
    line_memory_remote_overlapped: Price = Field(description="the same, overlapped with another or prefetched")
    bulk_page: Price = Field(description="one page of a bulk allocation, instructions")
    slab_alloc_fast: Price = Field(description="instructions of an object's allocation in SLUB's fast path")
    slab_free_fast: Price = Field(description="instructions of an object's free in SLUB's fast path")
    slab_alloc_slow: Price = Field(description="what an allocation adds that has to look for a slab")
    slab_free_slow: Price = Field(description="what a free adds that is not to this CPU's slab")
    slab_cmpxchg: Price = Field(description="a slab's free list and counters exchanged at once")
    slab_new: Price = Field(description="a new slab, and the way to its pages")
    slab_discard: Price = Field(description="an empty slab given up, and its pages sent their way")
    slab_moved: Price = Field(description="a slab put on a list of partial slabs, or taken off")
    object_set_up: Price = Field(description="one object put on a new slab's free list")
    bulk_object: Price = Field(description="one object of a bulk allocation or free, instructions")
    vmalloc: Price = Field(description="instructions of a vmalloc or vmap outside of locks, without its pages")
    vfree: Price = Field(description="instructions of a vfree or vunmap outside of locks, without its pages")
    vmap_step: Price = Field(description="one area looked at in the tree of free addresses, or moved between trees")
    pte_set: Price = Field(description="one page mapped")
    pte_cleared: Price = Field(description="one page unmapped")
    tlb_flush: Price = Field(description="one CPU's TLB flushed, or a broadcast waited for")
    folio_isolated: Price = Field(description="a folio taken off an LRU list, or put back, under its lock")
    folio_scanned: Price = Field(description="a folio looked at: its references and flags")
    folio_unmapped: Price = Field(
        description="a folio taken out of its file, the swap cache or a page table, and freed"
    )
    swap_write: Price = Field(description="one page written to swap")
    page_read: Price = Field(description="one page of a file read from its device")
    page_cache_hit: Price = Field(description="a read that finds its page in the page cache")
    context_switch: Price = Field(description="from one thread to another on the same CPU")
    interrupt: Price = Field(description="entry and exit of an irq")
    softirq: Price = Field(description="running a softirq")

    cache_lines: Count = Field(description="lines that one CPU's cache keeps")
    left_out: tuple[LeftOut, ...] = Field((), description="the errors on points that its fit did not see, by kind")
