"""A machine with an older release's rules beside that release's slow twin (see `pair.py`)."""

from random import Random
from typing import Any

from kmsim.mm.kernels import KERNELS
from kmsim.mm.memblock import Boot
from tests.models.machine_model import BELOW_HIGH, HIGHATOMIC, Record
from tests.models.older_page_alloc_model import PageAlloc61, PageAlloc510
from tests.models.older_zone_model import Zone61

from .machines import changed
from .pair import Pair, after

TWINS = {"6.1": PageAlloc61, "5.10": PageAlloc510}


class OlderPair(Pair):
    """A machine of a release and its twin."""

    def __init__(self, boot: Boot, release: str) -> None:
        rules = {name: rule for name, rule in KERNELS[release]._asdict().items() if name not in DRAWN}
        self.has_bulk = release != "5.10"
        super().__init__(changed(boot, **rules), Random(1), TWINS[release])
        for zone in self.twin.zones.values():
            assert isinstance(zone, Zone61)
            self.watch_older(zone)

    def watch_older(self, zone: Zone61) -> None:
        """Count what happens in a zone of these releases."""
        reached = self.reached

        def moved(_: int, result: bool, *_args: Any) -> None:
            reached["move"] += result

        def moved_pageblock(_: int, nr_pages: int, pfn: int, migratetype: int) -> None:
            reached["not_moved"] += nr_pages == 0
            reached["kept_type"] += nr_pages > 0 and zone.block_type(pfn) != migratetype

        def moved_block(_: int, _result: None, pfn: int, migratetype: int) -> None:
            reached["other_list"] += zone.block_type(pfn) != migratetype

        def kept_back(_: int, nr_pages: int, _alloc_flags: int) -> None:
            reached["kept_back"] += nr_pages > zone.listed_pages(HIGHATOMIC)

        after(zone, "rmqueue_fallback", moved)
        after(zone, "move_pageblock", moved_pageblock)
        after(zone, "move_to_tail", moved_block)
        after(zone, "kept_back", kept_back)

    def bulk(self, cpu: int, gfp: int, nr_pages: int) -> None:
        """Allocate single pages in bulk, or one by one where the kernel has no bulk allocator."""
        if self.has_bulk:
            super().bulk(cpu, gfp, nr_pages)
            return
        for _ in range(min(nr_pages, 20)):
            self.alloc(cpu, gfp, 0)

    def records(self) -> list[Record]:
        """The machine, without the flag that these kernels do not have and nothing here asks for."""
        return [record | {"zflags": record["zflags"] & ~BELOW_HIGH} for record in super().records()]


# What a random machine has of its own, whatever the release: build options, and a check that can be switched on.
DRAWN = ("batch_scale_max", "tails_written", "check_pages")
