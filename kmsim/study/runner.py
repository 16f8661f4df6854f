"""Run a study of one point: simulate, measure, write, draw."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kmsim.config import Study, dump
from kmsim.sim.clock import now_ps
from kmsim.sim.simulation import Simulation, UserProcess, new_simulation
from kmsim.sim.simulation import run as simulate
from kmsim.study.store import Result, provenance, result_folder, write_end, write_inputs, write_proc, write_tables
from kmsim.study.tables import tables_of
from kmsim.units import PS_PER_NS
from kmsim.workload.plan import nr_operations, plan_of

Progress = Callable[[int, int], None]
Draw = Callable[[Result, Path], object]


class ModelBug(Exception):
    """An assertion of the model failed: our mistake, with what is needed to see it again."""


def say_nothing(done: int, total: int) -> None:
    """The report of a quiet run."""


def run_point(
    study: Study, progress: Progress = say_nothing, processes: Sequence[UserProcess] = ()
) -> Simulation:
    """Simulate; `progress` is told the operations done and their total. ModelBug says where an assertion failed."""
    total = nr_operations(plan_of(study.workload, study.machine))
    simulation = None
    try:
        simulation = new_simulation(study, processes)
        for done in simulate(simulation):
            progress(done, total)
    except AssertionError as error:
        when = "at boot" if simulation is None else f"at {now_ps(simulation.env) / PS_PER_NS:,} ns"
        raise ModelBug(f"{error} (study {study.name}, seed {study.seed}, {when})") from error
    progress(total, total)
    return simulation


def run_study(
    study: Study,
    out: Path | None = None,
    progress: Progress = say_nothing,
    draw: Draw | None = None,
    processes: Sequence[UserProcess] = (),
) -> Result:
    """Run, and write the result to `out` unless it is None; nothing is left there on an error.

    `draw` is handed the result and the folder for its figures; `processes` are the user's own, which
    run beside those of the study.
    """
    if out is None:
        simulation = run_point(study, progress, processes)
        facts = provenance(study, [], processes)
        result = Result(tables_of(simulation), dump(study), facts, stuck=simulation.stuck)
        _free(simulation, processes)
        return result
    with result_folder(out) as folder:
        facts = provenance(study, sys.argv[1:], processes)
        write_inputs(folder, study, facts)
        simulation = run_point(study, progress, processes)
        result = Result(tables_of(simulation), dump(study), facts, folder, simulation.stuck)
        write_end(folder, simulation.stuck)
        write_tables(folder, result.tables)
        write_proc(folder, simulation)
        _free(simulation, processes)
        if draw is not None:
            draw(result, folder / "figures")
    return replace(result, path=out)


def _free(simulation: Simulation, processes: Sequence[UserProcess]) -> None:
    """Let go of a run's memory, unless the user's processes may still look at it."""
    if not processes:
        simulation.free()
