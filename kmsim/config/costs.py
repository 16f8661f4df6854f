"""The price list: what each step of the allocator costs on one machine, every price with its source.

The mechanism (``kmsim.mm``) counts steps; these prices turn them into time. A new price is one line
in ``CostsConfig``, one in the shipped lists and one in ``configs/README.md``.
"""

from pydantic import Field

from kmsim.config.quantities import Model, Name, SomeText, Time


class Price(Model):
    """What one step costs, and where the number comes from (``assumed`` is an answer)."""

    value: Time
    source: SomeText


class CostsConfig(Model):
    """Prices of one machine; ``value`` is in picoseconds once loaded."""

    name: Name
    source: SomeText

    alloc_fast: Price = Field(description="a page or block taken from a per-CPU list")
    free_fast: Price = Field(description="a page or block put on a per-CPU list")
    watermark_check: Price = Field(description="a zone's free pages compared with its watermark")
    lock_uncontended: Price = Field(description="zone lock taken and released, nobody waiting")
    lock_handover: Price = Field(description="zone lock handed to a CPU that waited for it")
    buddy_split: Price = Field(description="a free block halved once")
    buddy_merge: Price = Field(description="two free buddies joined once")
    page_moved: Price = Field(description="a page moved between a per-CPU list and the free lists")
    block_scanned: Price = Field(description="a page frame looked at when a pageblock changes its type")
