"""The price list in whole picoseconds: what `mm` says was done, turned into time.

Mechanism and price are separate: no price is known in `mm`, and a sweep over prices touches no
allocator code. Leaves out, until they are built: the cache lines of struct page, zeroing, checks.
"""

from typing import Any, NamedTuple

from kmsim.config.costs import CostsConfig


class Prices(NamedTuple):
    """Picoseconds for each thing that is done, by the names of the price list."""

    alloc_fast: int
    free_fast: int
    watermark_check: int
    lock_uncontended: int
    lock_handover: int
    buddy_split: int
    buddy_merge: int
    page_moved: int
    block_scanned: int

    def hold(self, work: Any) -> int:
        """How long a critical section takes, by what it did (a record of `mm.mmzone.work_t`)."""
        return (
            int(work.splits) * self.buddy_split
            + int(work.merges) * self.buddy_merge
            + int(work.pages_moved) * self.page_moved
            + int(work.frames_scanned) * self.block_scanned
        )


def prices(costs: CostsConfig) -> Prices:
    """The list of a resolved config."""
    return Prices(*(getattr(costs, name).value for name in Prices._fields))
