"""The one door: YAML 1.2 in, a frozen design or one resolved ``Study`` out, or a ``ConfigError`` that says it all.

``study = kmsim.config.load("study.yaml", sets=["machine.cpus=4"], seed=7)`` is one run;
``design = kmsim.config.load_design("study.yaml")`` all runs of a study with a sweep and replications.
"""

from kmsim.config.costs import CostsConfig, Price
from kmsim.config.design import Design, design_of, load_design, study_text
from kmsim.config.distributions import Constant, Exponential
from kmsim.config.door import from_mapping, load, loads
from kmsim.config.errors import ConfigError, Problem
from kmsim.config.inquiry import ComparisonConfig, FigureConfig, Inquiry
from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import MemoryRange, ReservedRange
from kmsim.config.phases import PhaseConfig
from kmsim.config.points import Dropped, Point
from kmsim.config.product import Axis
from kmsim.config.requests import RequestConfig
from kmsim.config.responses import ResponseConfig
from kmsim.config.schema import json_schema
from kmsim.config.state import Aged, BuddyInfo, Filled, FreeLists, Fresh, Recorded
from kmsim.config.study import RunConfig, Study
from kmsim.config.sysctl import SysctlConfig
from kmsim.config.workload import InterruptConfig, ThreadConfig, WorkloadConfig
from kmsim.config.written import dump, starter

__all__ = [
    "Aged",
    "Axis",
    "BuddyInfo",
    "ComparisonConfig",
    "ConfigError",
    "Constant",
    "CostsConfig",
    "Design",
    "Dropped",
    "Exponential",
    "FigureConfig",
    "Filled",
    "FreeLists",
    "Fresh",
    "Inquiry",
    "InterruptConfig",
    "MachineConfig",
    "MemoryRange",
    "PhaseConfig",
    "Point",
    "Price",
    "Problem",
    "Recorded",
    "RequestConfig",
    "ReservedRange",
    "ResponseConfig",
    "RunConfig",
    "Study",
    "SysctlConfig",
    "ThreadConfig",
    "WorkloadConfig",
    "design_of",
    "dump",
    "from_mapping",
    "json_schema",
    "load",
    "load_design",
    "loads",
    "starter",
    "study_text",
]
