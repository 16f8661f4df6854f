"""The sources of requests: threads on CPUs, and interrupts that interrupt them.

Each kind says what it asks for (``requests``), how fast (``think`` or ``arrivals``), how long it keeps
the memory (``live`` and ``free``, or ``lifetime``), and who frees it (``freed_by``). What a thread reads from
files, reclaim frees alone: such a thread asks for nothing else, and holds nothing. Leaves out:
traces, and threads that are started or end while others run.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from kmsim.config.arrivals import Arrivals
from kmsim.config.distributions import Constant, Distribution, Immortal, Lifetime
from kmsim.config.memory_policy import MemoryPolicyConfig
from kmsim.config.phases import OPERATIONS_MAX, Free, PhaseConfig, Requests
from kmsim.config.quantities import (
    Bool,
    Finding,
    Model,
    Name,
    Time,
    WithOptions,
    count,
    finding,
    number,
    refused,
    some_items,
    time,
)
from kmsim.config.requests import Bounds, RequestConfig

LIVE_MAX = 1 << 28  # the frames of 1 TiB in pages of 4 KiB
PER_CPU_MAX = 64
BATCH_MAX = 10**6


def _cpus(value: Any, info: ValidationInfo) -> Any:
    """A list of CPUs; ``all`` is every CPU of the machine, which the door passes as context."""
    if value == "all":
        return list(range((info.context or {}).get("cpus", 1)))
    if not isinstance(value, list | tuple):
        raise refused("type_cpus")
    return value


Cpus = Annotated[
    tuple[Annotated[int, count(0)], ...],
    some_items,
    BeforeValidator(_cpus),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}),
]


class SourceConfig(WithOptions):
    """The keys that threads and interrupts share."""

    name: Name
    cpus: Cpus = Field(default=cast(Any, "all"), validate_default=True)
    requests: Requests = (RequestConfig(),)
    lifetime: Lifetime | None = Field(default_factory=lambda got: Immortal() if got["requests"][0].reads_file else None)
    live: Annotated[int, count(0, LIVE_MAX)] | None = Field(
        default_factory=lambda got: 64 if got["lifetime"] is None else None
    )
    free: Free | None = Field(default_factory=lambda got: "random" if got["lifetime"] is None else None)
    freed_by: Name | None = None

    @property
    def all_requests(self) -> Iterator[tuple[tuple[str | int, ...], RequestConfig]]:
        """Every request, and where it stands."""
        for n, request in enumerate(self.requests):
            yield ("requests", n), request

    @property
    def reads_files(self) -> bool:
        """Does it read files? Then all of its requests do, and reclaim alone frees what it gets."""
        return self.requests[0].reads_file

    @property
    def decides_frees(self) -> str:
        """The key that says in place of `live` when blocks are freed."""
        return "api: file_read" if self.reads_files else "lifetime"

    @property
    def lifetimes(self) -> list[Lifetime]:
        """Every lifetime that is given."""
        return [self.lifetime] if self.lifetime is not None else []

    @property
    def nr_tasks(self) -> int:
        """How many of this kind there are."""
        return len(self.cpus)

    def group_max(self, page_size: int) -> int:
        """The most blocks that one request asks for, which is how many slots it fills."""
        return max(request.nr_blocks(page_size) for _, request in self.all_requests)

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this source."""
        seen: set[int] = set()
        for n, cpu in enumerate(self.cpus):
            if cpu in seen:
                yield finding(("cpus", n), "cpu_twice")
            seen.add(cpu)
        for n, request in enumerate(self.requests):
            for found in request.findings():
                yield found._replace(loc=("requests", n, *found.loc))
        for key in ("live", "free"):
            if self.lifetime is not None and getattr(self, key) is not None:
                yield finding((key,), "left_out", needs=("requests",), key=self.decides_frees)
        if self.reads_files:
            yield from self._reader_findings()
        elif self.freed_by is not None and all(isinstance(lifetime, Immortal) for lifetime in self.lifetimes):
            what = "a lifetime other than immortal"
            yield finding(("freed_by",), "comes_with", needs=("lifetime", "phases"), what=what)

    def _reader_findings(self) -> Iterator[Finding]:
        """Who frees what was read from files: nobody but reclaim."""
        if self.freed_by is not None:
            yield finding(("freed_by",), "left_out", needs=("requests",), key=self.decides_frees)
        if self.lifetime is not None and not isinstance(self.lifetime, Immortal):
            yield finding(("lifetime",), "lifetime_of_read", needs=("requests",))

    def machine_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """What the machine cannot give to this source."""
        for n, cpu in enumerate(self.cpus):
            if bounds.cpus is not None and cpu >= bounds.cpus:
                yield finding(("cpus", n), "cpu_machine", last=bounds.cpus - 1)
        for where, request in self.all_requests:
            for found in request.machine_findings(bounds):
                yield found._replace(loc=(*where, *found.loc))


class ThreadConfig(SourceConfig):
    """Threads of one kind, some on each of their CPUs."""

    per_cpu: Annotated[int, count(1, PER_CPU_MAX)] = 1
    pinned: Bool = True
    remote_frees: Annotated[float, number(low=0, high=1)] = 0.0
    memory_policy: MemoryPolicyConfig | None = None
    start: Time = 0
    arrivals: Arrivals | None = None
    think: Distribution | None = Field(
        default_factory=lambda got: Constant.model_construct(constant=0) if got["arrivals"] is None else None
    )
    phases: tuple[PhaseConfig, ...] = ()
    operations: Annotated[int, count(0, OPERATIONS_MAX)] | None = Field(
        default_factory=lambda got: None if got["phases"] else 10_000
    )

    @property
    def nr_tasks(self) -> int:
        """How many threads of this kind there are."""
        return len(self.cpus) * self.per_cpu

    @property
    def all_requests(self) -> Iterator[tuple[tuple[str | int, ...], RequestConfig]]:
        """Every request, and where it stands; those of the phases, too."""
        yield from super().all_requests
        for n, phase in enumerate(self.phases):
            for k, request in enumerate(phase.requests or ()):
                yield ("phases", n, "requests", k), request

    @property
    def lifetimes(self) -> list[Lifetime]:
        """Every lifetime that is given; those of the phases, too."""
        return super().lifetimes + [phase.lifetime for phase in self.phases if phase.lifetime is not None]

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this kind of threads."""
        yield from super().findings()
        if self.arrivals is not None and self.think is not None:
            yield finding(("think",), "left_out", key="arrivals")
        if self.phases and self.operations is not None:
            yield finding(("operations",), "left_out", key="phases")
        if self.remote_frees and self.live is None:
            yield finding(("remote_frees",), "left_out", needs=("requests",), key=self.decides_frees)
        elif self.remote_frees and len(set(self.cpus)) < 2:
            yield finding(("remote_frees",), "remote_frees", needs=("cpus",))
        if self.memory_policy is not None:
            for found in self.memory_policy.findings():
                yield found._replace(loc=("memory_policy", *found.loc))
            for where, request in self.all_requests:
                if request.api in ("vmalloc", "kvmalloc"):
                    yield finding((*where, "api"), "policy_api", needs=("memory_policy",))
        for where, request in self.all_requests:
            if request.reads_file != self.reads_files:
                yield finding((*where, "api"), "read_alone", needs=("requests",))
        for n, phase in enumerate(self.phases):
            for found in (*phase.findings(), *self._phase_findings(n, phase)):
                yield found._replace(loc=("phases", n, *found.loc))

    def machine_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """What the machine cannot give to these threads."""
        yield from super().machine_findings(bounds)
        if self.memory_policy is not None and not any(self.memory_policy.findings()):
            for found in self.memory_policy.machine_findings(bounds.node_memory):
                yield found._replace(loc=("memory_policy", *found.loc))

    def _phase_findings(self, n: int, phase: PhaseConfig) -> Iterator[Finding]:
        """What is wrong between a phase and its thread or the phase before."""
        if phase.think is not None and self.arrivals is not None:
            yield finding(("think",), "left_out", key="the thread's arrivals")
        if phase.arrivals is not None and self.arrivals is None:
            yield finding(("arrivals",), "comes_with", needs=("arrivals",), what="arrivals of the thread")
        if self.lifetime is not None:
            key = self.decides_frees if self.reads_files else "the thread's lifetime"
            if phase.do != "churn":
                yield finding(("do",), "phase_slots", needs=("requests",), key=key)
            elif phase.free is not None and phase.lifetime is None:
                yield finding(("free",), "left_out", needs=("requests",), key=key)
        if self.reads_files and phase.lifetime is not None and not isinstance(phase.lifetime, Immortal):
            yield finding(("lifetime",), "lifetime_of_read", needs=("requests",))
        shared = phase.whose == "all" or (n > 0 and self.phases[n - 1].whose == "all")
        if shared and not phase.barrier:
            yield finding(("barrier",), "barrier_all", found="false")


class InterruptConfig(SourceConfig):
    """Interrupts of one kind, on each of their CPUs."""

    kind: Literal["irq", "softirq"]
    arrivals: Arrivals
    batch: Annotated[int, count(1, BATCH_MAX)] = 1
    operations: Annotated[int, count(1, OPERATIONS_MAX)] | None = None
    requests: Requests = (RequestConfig.model_construct(gfp="GFP_ATOMIC", order=0),)

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this kind of interrupts."""
        from kmsim.mm.gfp import GFP_DIRECT_RECLAIM

        yield from super().findings()
        for n, request in enumerate(self.requests):
            if request.reads_file:
                yield finding(("requests", n, "api"), "api_sleeps", api="file_read")
            elif request.gfp_flags & GFP_DIRECT_RECLAIM:
                yield finding(("requests", n, "gfp"), "gfp_sleeps", found=repr(request.gfp))
            elif request.api == "vmalloc":
                yield finding(("requests", n, "api"), "api_sleeps", api="vmalloc")


class DrainConfig(Model):
    """A worker that empties the per-CPU lists of all CPUs now and then, as memory hotplug does."""

    cpu: Annotated[int, count(0)]
    every: Annotated[int, time(1)]

    def machine_findings(self, bounds: Bounds) -> Iterator[Finding]:
        """What the machine cannot give to this worker."""
        if bounds.cpus is not None and self.cpu >= bounds.cpus:
            yield finding(("cpu",), "cpu_machine", last=bounds.cpus - 1)


def nr_requests_held(source: ThreadConfig | InterruptConfig) -> int:
    """How many requests each thread or interrupt of a kind holds at once; 0 if its blocks have lifetimes."""
    if source.live is None:
        return 0
    held = max(source.live, 1)
    return held if source.operations is None else min(held, source.operations)


class WorkloadConfig(Model):
    """Everything that runs on the machine."""

    threads: Annotated[tuple[ThreadConfig, ...], some_items]
    interrupts: tuple[InterruptConfig, ...] = ()
    drains: tuple[DrainConfig, ...] = ()
