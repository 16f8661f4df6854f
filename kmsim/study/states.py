"""Whether the machines of a study can be in the states in which they are to start, found before anything is simulated.

What the files of a state hold is looked at only where a machine is built, so some machines of the study are. Leaves
out those beyond STATES_MAX, whose runs find it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from kmsim.config import Design, MachineConfig, Point, Study

STATES_MAX = 64  # machines that are built


def has_states(design: Design) -> bool:
    """Does a machine of the study start in a state that has to be built?"""
    return bool(_to_build(design))


def check_states(design: Design, building: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    """Raise ConfigError where a machine cannot be in the state in which it is to start, as its run would.

    Looked at are the first point and one with each level of the axes that move the machine, up to STATES_MAX.
    They are built, which may compile, within `building`.
    """
    built = _to_build(design)
    if built:
        from kmsim.sim.run.boot import machine_of  # numba comes with it

        with building():
            for study in built:
                machine_of(study.machine, study.seed)


def notes_of(machine: MachineConfig) -> list[str]:
    """What is to be known of a machine: its own notes, and what is assumed of the state in which it starts."""
    if machine.state.kind != "buddyinfo":
        return list(machine.notes)
    from kmsim.sim.run.listed import state_notes

    return [*machine.notes, *state_notes(machine)]


def _to_build(design: Design) -> list[Study]:
    """The studies whose machines are looked at, but for those that are freshly booted."""
    moving = [axis.name for axis, parts in zip(design.axes, design.parts_moved, strict=True) if "machine" in parts]
    seen: set[tuple[str, str]] = set()
    chosen: list[Point] = []
    for point in design.points:
        new = {(name, point.labels[name]) for name in moving} - seen
        if (new or not chosen) and len(chosen) < STATES_MAX:
            chosen.append(point)
        seen |= new
    studies = [design.study_of(point) for point in chosen]
    return [study for study in studies if study.machine.state.kind != "fresh"]
