"""The price list: what each step of the allocator costs on one machine, every price with its source.

The mechanism (``kmsim.mm``) counts steps; these prices turn them into time. A new price is one line
in ``CostsConfig``, one in the shipped lists and one in ``configs/README.md``.
"""

from typing import Annotated

from pydantic import Field

from kmsim.config.quantities import Model, Name, SomeText, Time, count


class Price(Model):
    """What one step costs, and where the number comes from (``assumed`` is an answer)."""

    value: Time
    source: SomeText


class Count(Model):
    """How many there are, and where the number comes from."""

    value: Annotated[int, count(1)]
    source: SomeText


class CostsConfig(Model):
    """Prices of one machine; ``value`` is in picoseconds once loaded."""

    name: Name
    source: SomeText

    alloc_fast: Price = Field(description="instructions of an allocation outside of locks")
    free_fast: Price = Field(description="instructions of a free outside of locks")
    watermark_check: Price = Field(description="one zone's free pages compared with its watermark")
    lock_uncontended: Price = Field(description="zone lock taken that nobody holds")
    lock_handover: Price = Field(description="zone lock handed to a CPU that waits for it")
    lock_hold: Price = Field(description="fixed instructions inside of each critical section")
    buddy_split: Price = Field(description="a free block halved once")
    buddy_merge: Price = Field(description="two free buddies joined once")
    page_moved: Price = Field(description="a page moved between a per-CPU list and the free lists")
    frame_scanned: Price = Field(description="a page frame looked at when a pageblock changes its type")
    page_check: Price = Field(description="one page checked")
    zero_byte: Price = Field(description="one byte zeroed")
    line_hot: Price = Field(description="a line of struct page in this CPU's cache")
    line_other: Price = Field(description="a line in another CPU's cache, the miss exposed")
    line_other_overlapped: Price = Field(description="the same in loops over per-CPU lists and bulks")
    line_sequential: Price = Field(description="a line from memory, prefetched")
    line_memory: Price = Field(description="a line from memory, the miss exposed")
    line_memory_overlapped: Price = Field(description="the same in loops over per-CPU lists and bulks")
    context_switch: Price = Field(description="from one thread to another on the same CPU")
    interrupt: Price = Field(description="entry and exit of an irq")
    softirq: Price = Field(description="running a softirq")

    cache_lines: Count = Field(description="lines that one CPU's cache keeps")
