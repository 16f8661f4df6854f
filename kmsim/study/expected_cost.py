"""What a run is expected to take, before it is run: seconds and bytes, by rule of thumb.

Used to start long runs first, so that none is left over at the end, and to say how long a study may take.
Seconds are those of a common x86-64 server core; within a factor of two or so of what was measured there. What
interrupts do, and phases that last until a time, is not known beforehand and counts nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from kmsim.config import Study
from kmsim.config.study import MSER_5
from kmsim.workload.plan import nr_operations, plan_of

# Measured on the shipped benches and machines.
STUDY_S = 4.0  # of a study, however many runs it has: to start, to load compiled code, to draw
_START_S = 0.01  # of a run: its config, and writing and collecting its results
_OPERATION_S = 0.15e-6
_SLAB_FACTOR, _VMALLOC_FACTOR, _STEPWISE_FACTOR = 1.2, 6.0, 300.0
_FRAME_S = 10e-9  # to boot
_AGED_FRAME_S = 250e-9  # to fragment
_BYTES, _SLAB_BYTES = 13_000, 5_000


class Expected(NamedTuple):
    """Of one run: seconds on one core, and bytes on disk."""

    seconds: float
    nr_bytes: int


def expected_cost(study: Study) -> Expected:
    """What a resolved study of one run is expected to take."""
    plan = plan_of(study.workload, study.machine)
    frames = study.machine.memory // study.machine.page_size
    operation_s = _OPERATION_S
    operation_s *= _VMALLOC_FACTOR if plan.uses_vmalloc else _SLAB_FACTOR if plan.caches is not None else 1
    operation_s *= _STEPWISE_FACTOR if study.run.stepwise else 1
    frame_s = _FRAME_S + (_AGED_FRAME_S if study.machine.state.kind == "aged" else 0)
    simulated = nr_operations(plan) * operation_s + frames * frame_s
    nr_times = 2 if study.run.warm_up == MSER_5 else 1  # once before, to find the warm-up
    nr_bytes = _BYTES + (_SLAB_BYTES if plan.caches is not None else 0) + study.run.memory_map * frames
    return Expected(_START_S + nr_times * simulated, nr_bytes)
