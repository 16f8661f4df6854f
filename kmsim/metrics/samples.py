"""Samples of free memory over simulated time: per zone, its free blocks by order and the indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kmsim.mm.mmzone import ZONE_NAMES, Machine
from kmsim.mm.vmstat import fragmentation_index, unusable_free_index

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("time_ns", "zone", "order", "nr_free", "free_pages", "unusable_index", "fragmentation_index")


@dataclass
class Samples:
    """Rows of `COLUMNS`: one per sample, populated zone and order."""

    rows: list[tuple[float, str, int, int, int, float, float]] = field(default_factory=list)

    def take(self, m: Machine, now_ps: int) -> None:
        """Sample every populated zone; a second sample at one instant replaces the first."""
        while self.rows and self.rows[-1][0] == now_ps / 1000:
            self.rows.pop()
        for z, zone in enumerate(m.zones):
            if not zone.present_pages:
                continue
            nr_free = [int(count) for count in zone.nr_free[: int(m.params[0].max_page_order) + 1]]
            for order, count in enumerate(nr_free):
                self.rows.append(
                    (
                        now_ps / 1000,
                        ZONE_NAMES[z],
                        order,
                        count,
                        count << order,
                        unusable_free_index(nr_free, order) / 1000,
                        fragmentation_index(nr_free, order) / 1000,
                    )
                )

    def table(self) -> pd.DataFrame:
        """The samples as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))
