"""A study of one point: a machine, its prices, a workload, and how to run them. What the door returns.

Leaves out: sweeps and replications (``design``); how a file becomes this (``door``).
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from kmsim.config.costs import CostsConfig
from kmsim.config.machine import MachineConfig
from kmsim.config.parts import pack, unpack
from kmsim.config.quantities import Bool, Model, Name, WithOptions, count, refused, time
from kmsim.config.state import Filled
from kmsim.config.workload import WorkloadConfig
from kmsim.units import TIME_UNITS, format_time

MEMORY_MAPS_MAX = 100  # assumed: of 4 GiB in 4 KiB pages, each is a MiB
OPERATIONS_MAX = 1_000_000  # assumed: rows of 64 bytes in memory, about 100 in a study's archive
MSER_5 = "mser-5"


def _warm_up(value: Any) -> Any:
    if value == MSER_5:
        return value
    if not isinstance(value, str) or not value.strip()[:1].isdecimal():
        raise refused("time_or_mser")
    return time(0).validate(value)


WarmUp = Annotated[
    int | Literal["mser-5"],
    BeforeValidator(_warm_up),
    PlainSerializer(lambda value: value if value == MSER_5 else format_time(value), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": MSER_5},
                {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join(TIME_UNITS)})\s*$"},
            ]
        }
    ),
]


PARTS = ("machine", "costs", "workload", "run")


class RunConfig(WithOptions):
    """How a point is simulated and watched; nothing here changes what the allocator decides."""

    stepwise: Bool = False
    sample_every: Annotated[int, time(1)] = TIME_UNITS["ms"]
    validate_every: Annotated[int, count(0)] = 0
    warm_up: WarmUp = 0  # what is measured begins then
    batch: Annotated[int, time(1)] | None = None  # the run after the warm-up is cut into windows of this length
    memory_map: Annotated[int, count(0, MEMORY_MAPS_MAX)] = 0  # most snapshots of all pages that are kept
    operations: Annotated[int, count(0, OPERATIONS_MAX)] = 0  # most single operations that are kept
    operations_kept: Literal["last", "sampled"] = "last"  # which ones, where there are more


class Study(Model):
    """One resolved study."""

    name: Name = "study"
    seed: Annotated[int, count(0)] = 1
    machine: MachineConfig
    costs: CostsConfig
    workload: WorkloadConfig
    run: RunConfig = RunConfig()

    @property
    def reclaims(self) -> bool:
        """Can memory be reclaimed in it: are there pages of files or of processes, or is there swap space?"""
        sources = (*self.workload.threads, *self.workload.interrupts)
        reads = any(request.reads_file for source in sources for _, request in source.all_requests)
        return reads or isinstance(self.machine.state, Filled) or self.machine.swap > 0

    def __reduce__(self) -> tuple[Any, ...]:
        """How a study is pickled: part by part, so that studies that are sent one after another share what they have in
        common.
        """
        return _unpacked, (self.name, self.seed, *(pack(getattr(self, part)) for part in PARTS))


def _unpacked(name: str, seed: int, *packed: bytes) -> Study:
    parts: dict[str, Any] = {part: unpack(part, content) for part, content in zip(PARTS, packed, strict=True)}
    return Study.model_construct(name=name, seed=seed, **parts)
