"""The table `single_operations`: one row for each operation that a run has kept (`run.operations`).

In the order in which they ended. `number` counts all allocations and frees that have ended since the end of the
warm-up, from 0 on, so that it says how many ended between two rows. `latency_ns` of one that failed is the time until
it did. `block` is what was given or freed: a page frame, an object or an area, as the API says; -1 where it failed.
A free does not say how many bytes it is of: `asked_bytes` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.columns import CLASS_COLUMNS, INT, REAL, TEXT, Columns, Table, made_of
from kmsim.sim.core.records import NO_BLOCK, Core
from kmsim.sim.core.single_records import singles_kept
from kmsim.units import PS_PER_NS
from kmsim.workload.plan import TaskPlan

USERS_TASK = "user"  # the name of every task of a user's process
SINGLE_OPERATIONS = "single_operations"
SINGLE_OPERATIONS_COLUMNS: Columns = {
    "number": INT,
    "start_ns": REAL,
    "latency_ns": REAL,
    "cpu": INT,
    "task": TEXT,
    **CLASS_COLUMNS,
    "asked_bytes": INT,
    "block": INT,
    "failed": INT,
}


def single_operations(core: Core, tasks: Sequence[TaskPlan], classes: dict[str, NDArray[Any]]) -> Table:
    """The table of a run's core; `classes` are the key columns by class of operation, `tasks` those of the plan."""
    assert core.singles is not None, "a run that keeps single operations"
    kept = singles_kept(core.singles)
    names = np.array([*(task.name for task in tasks), USERS_TASK])
    of_class = {name: column[kept["of_class"]] for name, column in classes.items()}
    columns = {
        "number": kept["number"],
        "start_ns": kept["start_ps"] / PS_PER_NS,
        "latency_ns": kept["latency_ps"] / PS_PER_NS,
        "cpu": kept["cpu"],
        "task": names[np.minimum(kept["task"], len(tasks))],
        **of_class,
        "asked_bytes": kept["nr_bytes"],
        "block": kept["block"],
        "failed": kept["block"] == NO_BLOCK,
    }
    return made_of(SINGLE_OPERATIONS_COLUMNS, [columns[name] for name in SINGLE_OPERATIONS_COLUMNS])
