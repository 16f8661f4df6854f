"""What is recorded of a run over time, each by a recorder of its own: memory, activity, page maps, windows."""

from __future__ import annotations

from dataclasses import dataclass, field

from kmsim.metrics.page_maps import PageMaps
from kmsim.metrics.samples import Samples
from kmsim.sim.core.records import Core
from kmsim.sim.run.activity import Activity
from kmsim.sim.run.windows import Windows


@dataclass
class Recorders:
    """The recorders of one run."""

    windows: Windows
    page_maps: PageMaps | None = None
    samples: Samples = field(default_factory=Samples)
    activity: Activity = field(default_factory=Activity)

    def take(self, core: Core, now_ps: int, *, is_last: bool = False) -> None:
        """Take down all that is sampled, now."""
        self.samples.take(core.m, now_ps)
        self.activity.take(core, now_ps)
        if self.page_maps is not None:
            take = self.page_maps.take_last if is_last else self.page_maps.take
            take(core.m, core.slub, now_ps)
