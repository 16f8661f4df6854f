"""A study of one point: a machine, its prices, a workload, and how to run them. What the door returns.

Leaves out: sweeps and replications (later issues); how a file becomes this (``door``).
"""

from typing import Annotated

from kmsim.config.costs import CostsConfig
from kmsim.config.machine import MachineConfig
from kmsim.config.quantities import Bool, Model, Name, count, time
from kmsim.config.workload import WorkloadConfig
from kmsim.units import TIME_UNITS


class RunConfig(Model):
    """How a point is simulated and watched; nothing here changes what the allocator decides."""

    stepwise: Bool = False
    sample_every: Annotated[int, time(1)] = TIME_UNITS["ms"]
    validate_every: Annotated[int, count(0)] = 0


class Study(Model):
    """One resolved study."""

    name: Name = "study"
    seed: Annotated[int, count(0)] = 1
    machine: MachineConfig
    costs: CostsConfig
    workload: WorkloadConfig
    run: RunConfig = RunConfig()
