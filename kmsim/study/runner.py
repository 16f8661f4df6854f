"""Run a study of one point: simulate, measure, write, draw."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kmsim.config import Study, dump
from kmsim.config.study import MSER_5
from kmsim.output import our_folder
from kmsim.sim.run.activity import Activity
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.listed import state_notes
from kmsim.sim.run.outside import check_outside
from kmsim.sim.simulation import Simulation, UserProcess, new_simulation
from kmsim.sim.simulation import run as simulate
from kmsim.study.checksums import seal_more
from kmsim.study.store import Result, members_of, proc_files, provenance, result_folder, write_inputs, write_members
from kmsim.study.tables import batches_of, tables_of
from kmsim.study.timeline_file import TimelineFile
from kmsim.units import PS_PER_NS
from kmsim.workload.plan import nr_operations, plan_of

PILOT_SEEDS = 1 << 40  # above those of all replications

Progress = Callable[[int, int], None]
Attach = Callable[[Simulation], object]  # adds what looks on, before anything happens
Draw = Callable[[Result, Path], Iterable[Path]]  # the files written


class ModelBug(Exception):
    """An assertion of the model failed: our mistake, with what is needed to see it again."""


def say_nothing(done: int, total: int) -> None:
    """The report of a quiet run."""


def attach_nothing(simulation: Simulation) -> None:
    """Nobody looks on."""


def run_point(
    study: Study,
    progress: Progress = say_nothing,
    processes: Sequence[UserProcess] = (),
    attach: Attach = attach_nothing,
) -> Simulation:
    """Simulate; `progress` is told the operations done and their total. ModelBug says where an assertion failed;
    ConfigError, what a policy's file has done wrong.

    Where the warm-up is to be found, the run is simulated once before, from end to end: the user's processes, too.
    `attach` is handed the simulation that is measured, before it begins.
    """
    total = nr_operations(plan_of(study.workload, study.machine))
    if study.run.warm_up != MSER_5:
        return _simulated(study, progress, processes, (0, total, total), attach)
    pilot = _simulated(_pilot_of(study), progress, processes, (0, total, 2 * total))
    found = study.run.model_copy(update={"warm_up": _warm_up_ps(pilot.recorders.activity)})
    pilot.free()
    return _simulated(study.model_copy(update={"run": found}), progress, processes, (total, total, 2 * total), attach)


def _pilot_of(study: Study) -> Study:
    """A run with other random numbers, of which nothing but its activity is looked at.

    A run that is cut by its own numbers is biased: a burst early in it looks like warm-up.
    """
    run = study.run.model_copy(update={"warm_up": 0, "batch": None, "memory_map": 0})
    return study.model_copy(update={"run": run, "seed": study.seed + PILOT_SEEDS})


def _warm_up_ps(activity: Activity) -> int:
    """When the mean latency of allocations has settled, by MSER-5 on the intervals between samples; a sample's time."""
    from kmsim.study.warm_up import mser_5

    table = activity.table()
    means = table["mean_ns"][table["kind"] == "alloc"]
    return activity.times_ps[mser_5(means[1:-1])]  # the first sample ends no interval, the last one a shorter one


def _simulated(
    study: Study,
    progress: Progress,
    processes: Sequence[UserProcess],
    operations: tuple[int, int, int],
    attach: Attach = attach_nothing,
) -> Simulation:
    """One simulation from end to end; `operations` are those done before it, its own, and the total of progress."""
    before, own, total = operations
    simulation = None
    try:
        simulation = new_simulation(study, processes)
        attach(simulation)
        for done in simulate(simulation):
            progress(before + done, total)
    except Exception as error:
        when = "at boot" if simulation is None else f"at {now_ps(simulation.env) / PS_PER_NS:,} ns"
        context = f"study {study.name}, seed {study.seed}, {when}"
        check_outside(study.machine, error, context)
        if isinstance(error, AssertionError):
            raise ModelBug(f"{error} ({context})") from error
        raise
    progress(before + own, total)
    return simulation


def result_of_run(simulation: Simulation, config_yaml: str, facts: dict[str, Any]) -> Result:
    """The result of a run that has ended; `facts` are its provenance."""
    return Result(
        tables_of(simulation),
        config_yaml,
        facts,
        stuck=simulation.stuck,
        batches=batches_of(simulation),
        warm_up_ns=simulation.recorders.windows.warm_up_ps / PS_PER_NS,
        remarks=(*state_notes(simulation.study.machine), *simulation.recorders.windows.remarks()),
    )


def run_study(
    study: Study,
    out: Path | None = None,
    progress: Progress = say_nothing,
    draw: Draw | None = None,
    processes: Sequence[UserProcess] = (),
    timeline: Path | None = None,
) -> Result:
    """Run, and write the result to `out` unless it is None; nothing is left there on an error.

    `draw` is handed the result and the folder for its figures; `processes` are the user's own, which
    run beside those of the study. With `timeline`, a file, the run is stepwise and its events are written there.
    """
    attach: Attach = attach_nothing
    if timeline is not None:
        study = study.model_copy(update={"run": study.run.model_copy(update={"stepwise": True})})
        attach = TimelineFile(timeline).attach
    if out is None:
        simulation = run_point(study, progress, processes, attach)
        result = result_of_run(simulation, dump(study), provenance(study, [], processes))
        _free(simulation, processes)
        return result
    with result_folder(out) as folder:
        facts = provenance(study, sys.argv[1:], processes)
        write_inputs(folder, study, facts)
        simulation = run_point(study, progress, processes, attach)
        result = replace(result_of_run(simulation, dump(study), facts), path=folder)
        write_members(folder, members_of(result, proc_files(simulation)))
        _free(simulation, processes)
        if draw is not None:
            figures = our_folder(folder / "figures")
            seal_more(figures, draw(result, figures))
    return replace(result, path=out)


def _free(simulation: Simulation, processes: Sequence[UserProcess]) -> None:
    """Let go of a run's memory, unless the user's processes may still look at it."""
    if not processes:
        simulation.free()
