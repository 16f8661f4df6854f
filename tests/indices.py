"""Runs a golden study in plain Python, and stops at any array index below 0: `python -m tests.indices STUDY ...`.

Compiled code takes an index as an unsigned number (see `kmsim.jit_inner`), so -1 is not the last record there.
"""

import sys
from typing import Any

import numpy as np

from kmsim.config import load_design
from kmsim.sim.simulation import Simulation
from kmsim.study.runner import run_point
from tests.golden.outcome import MODES, STUDIES, WITH_USERS
from tests.golden.users import Users


class Indexed(np.ndarray[Any, Any]):
    """An array whose elements are asked for by numbers from 0 on only."""

    def __getitem__(self, index: Any) -> Any:
        check(index)
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        check(index)
        super().__setitem__(index, value)


def check(index: Any) -> None:
    """No number of an index is below 0."""
    for number in index if isinstance(index, tuple) else (index,):
        assert not isinstance(number, int | np.integer) or number >= 0, f"index {number}"


def indexed(state: Any) -> Any:
    """The NamedTuple with all its arrays as arrays of that kind, and those of the NamedTuples in it."""
    if isinstance(state, tuple):
        return type(state)(*(indexed(field) for field in state))  # type: ignore[call-arg]
    return state.view(Indexed) if isinstance(state, np.ndarray) else state


def attach(simulation: Simulation) -> None:
    """Let a simulation run on such arrays."""
    simulation.engine.core = indexed(simulation.engine.core)


def main(names: list[str]) -> None:
    """Run these golden studies."""
    for name in names:
        design = load_design(STUDIES / f"{name}.yaml", [MODES["default"]])
        users = Users() if name == WITH_USERS else None
        study = design.study_of(design.points[0])
        simulation = run_point(study, processes=users.processes if users else (), attach=attach)
        print(name, simulation.nr_done)


if __name__ == "__main__":
    main(sys.argv[1:])
