"""The one door: YAML 1.2 in, one frozen and resolved ``Study`` out, or a ``ConfigError`` that says it all.

``study = kmsim.config.load("study.yaml", sets=["machine.cpus=4"], seed=7)``
"""

from kmsim.config.costs import CostsConfig, Price
from kmsim.config.distributions import Constant, Exponential
from kmsim.config.door import from_mapping, load, loads
from kmsim.config.errors import ConfigError, Problem
from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import MemoryRange, ReservedRange
from kmsim.config.phases import PhaseConfig
from kmsim.config.requests import RequestConfig
from kmsim.config.schema import json_schema
from kmsim.config.state import Aged, BuddyInfo, Fresh, Recorded
from kmsim.config.study import RunConfig, Study
from kmsim.config.sysctl import SysctlConfig
from kmsim.config.workload import InterruptConfig, ThreadConfig, WorkloadConfig
from kmsim.config.written import dump, starter

__all__ = [
    "Aged",
    "BuddyInfo",
    "ConfigError",
    "Constant",
    "CostsConfig",
    "Exponential",
    "Fresh",
    "InterruptConfig",
    "MachineConfig",
    "MemoryRange",
    "PhaseConfig",
    "Price",
    "Problem",
    "Recorded",
    "RequestConfig",
    "ReservedRange",
    "RunConfig",
    "Study",
    "SysctlConfig",
    "ThreadConfig",
    "WorkloadConfig",
    "dump",
    "from_mapping",
    "json_schema",
    "load",
    "loads",
    "starter",
]
