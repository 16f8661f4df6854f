"""Where operations lie that sleep, while others run on their CPU (see `sim.core.sleep`).

Leaves out when that happens. Invariant: as in `sim.core.records`, nothing is reallocated. Takes no lock.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.lru_records import NR_RECLAIM_LISTS
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_records import SLAB_BULK_MAX, Slub
from kmsim.mm.vm_records import FRAMES_PER_CONTEXT, Vm


class Parked(NamedTuple):
    """Operations that sleep, by task: the records of their CPU, put away so that others can run there."""

    runs: NDArray[np.void]
    contexts: NDArray[np.void]
    page_lists: NDArray[np.void]  # the heads of their contexts' lists
    # As in `Core`, each of these is None where no request needs it.
    slab_contexts: NDArray[np.void]
    bulk: NDArray[np.int32]  # from the task's `bulk_row` on
    vm_contexts: NDArray[np.void]
    vm_frames: NDArray[np.void]  # FRAMES_PER_CONTEXT of each
    reclaims: NDArray[np.void]  # and one more, which is empty
    reclaim_heads: NDArray[np.void]  # the heads of their lists, NR_RECLAIM_LISTS of each


def new_parked(m: Machine, slub: Slub | None, vm: Vm | None, runs: NDArray[np.void]) -> Parked:
    """Room for one operation of each task, whose runs are given."""
    nr_tasks = len(runs)
    parts: dict[str, Any] = dict.fromkeys(Parked._fields)
    if slub is not None:
        parts["slab_contexts"] = np.zeros(nr_tasks, slub.contexts.dtype)
        parts["bulk"] = np.zeros(nr_tasks * SLAB_BULK_MAX, slub.bulk.dtype)
    if vm is not None:
        parts["vm_contexts"] = np.zeros(nr_tasks, vm.contexts.dtype)
        parts["vm_frames"] = np.zeros(nr_tasks * FRAMES_PER_CONTEXT, vm.frames.dtype)
    if m.lru is not None:
        parts["reclaims"] = np.zeros(nr_tasks + 1, m.lru.reclaims.dtype)
        parts["reclaim_heads"] = np.zeros(nr_tasks * NR_RECLAIM_LISTS, m.pages.dtype)
    parts["runs"] = runs
    parts["contexts"] = np.zeros(nr_tasks, m.contexts.dtype)
    parts["page_lists"] = np.zeros(nr_tasks, m.pages.dtype)
    return Parked(**parts)
