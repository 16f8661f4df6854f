"""The file of a run's timeline: `kmsim.sim.run.timeline` as text, written when the run is over."""

from __future__ import annotations

from pathlib import Path

from kmsim.output import check_file, write_file
from kmsim.sim.core.records import Core
from kmsim.sim.run.engine import Observer
from kmsim.sim.run.timeline import Timeline, trace_text
from kmsim.sim.simulation import Simulation
from kmsim.study.slab_tables import cache_names
from kmsim.study.tables import lock_names


class TimelineFile(Observer):
    """Writes the timeline of the simulation that it is attached to."""

    def __init__(self, path: Path) -> None:
        """OutputError where nothing can be written there."""
        check_file(path)
        self._path = path

    def attach(self, simulation: Simulation) -> None:
        """Look on from now on."""
        self._plan = simulation.plan
        names = lock_names(simulation.core, cache_names(simulation))
        self._timeline = Timeline(simulation.core, simulation.plan, names)
        simulation.engine.observers += [self._timeline, self]

    def close(self, core: Core, now_ps: int) -> None:
        """The run is over, and the timeline closed: write it. OutputError where that cannot be."""
        assert now_ps >= 0, "after the beginning"
        write_file(self._path, trace_text(self._timeline.slices, self._plan, len(core.cpus)).encode())
