"""The responses of a study: which numbers of a run are evaluated, and how they are filtered.

``MEASURES`` is the whole list: what each number is, of which kinds of operations, and what it may be restricted to.
A response is a measure, a name for it, and filters: latency of which operations, waiting for which lock, free
blocks of which size. What a kind cannot tell (a free asks for no bytes, and never fails) is refused. Leaves out:
how each is computed from a run's tables (``study.responses``), and whether a study asks for what a response is
about (``study.yielded``).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema

from kmsim.config.errors import nearest
from kmsim.config.quantities import Bool, Finding, Gfp, Name, SomeText, WithOptions, count, finding, refused, size

OF_CLASS = ("kind", "api", "gfp", "order", "cache")
OF_BLOCKS = ("zone", "order", "block")
MIB = 1 << 20


Kind = Literal["alloc", "free"]
BOTH: tuple[Kind, ...] = ("alloc", "free")


class Measure(NamedTuple):
    """A number that every run yields; what it may be filtered by."""

    unit: str
    meaning: str
    worse: Literal["higher", "lower", ""] = ""  # the way in which it gets worse; "": a matter of what is wanted
    filters: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()  # the kinds of operations that it can tell anything of
    kind: Kind | None = None  # the one that it is about where none is said; None: all of `kinds`
    api: str | None = None  # the one that it is about in any case; None: all
    of_served: bool = False  # is it a time or a rate of the operations that did not fail?
    of_time: Literal["", "mean", "other"] = ""  # a mean time, or made of such; of time in another way; of counts only
    of: str = ""  # what it is a share of, where its name does not say so


def _of_latency(meaning: str, of_time: Literal["mean", "other"] = "other") -> Measure:
    return Measure("ns", meaning, "higher", OF_CLASS, BOTH, "alloc", of_served=True, of_time=of_time)


def _of_both(
    unit: str, meaning: str, worse: Literal["higher", "lower", ""] = "", *, of_served: bool = False
) -> Measure:
    return Measure(unit, meaning, worse, OF_CLASS, BOTH, of_served=of_served, of_time="mean" if of_served else "")


def _of_allocs(unit: str, meaning: str, worse: Literal["higher", "lower", ""] = "", api: str | None = None) -> Measure:
    return Measure(unit, meaning, worse, OF_CLASS, ("alloc",), "alloc", api)


MEASURES: dict[str, Measure] = {
    "latency_mean": _of_latency("mean latency", "mean"),
    "latency_p50": _of_latency("median latency"),
    "latency_p90": _of_latency("90th percentile of latency"),
    "latency_p99": _of_latency("99th percentile of latency"),
    "latency_p999": _of_latency("99.9th percentile of latency"),
    "latency_max": _of_latency("longest latency"),
    "time_per_mib": _of_both("us", "time of operations for each MiB that allocations got", "higher", of_served=True),
    "operations": _of_both("count", "operations that did not fail"),
    "throughput": _of_both("operations/s", "operations a simulated second", "lower", of_served=True),
    "failed": _of_allocs("count", "failed allocations", "higher"),
    "failed_share": _of_allocs("%", "failed allocations", "higher"),
    "slow_path_share": _of_allocs("%", "allocations that failed where a kernel would reclaim or compact", "higher"),
    "reclaiming_share": _of_allocs("%", "allocations that had to reclaim memory", "higher"),
    "pages_scanned": _of_allocs("pages", "pages that allocations scanned to reclaim some", "higher"),
    "pages_reclaimed": _of_allocs("pages", "pages that allocations reclaimed"),
    "vmalloc_share": _of_allocs("%", "allocations that kvmalloc left to vmalloc", api="kvmalloc"),
    "asked": _of_allocs("MiB", "memory that allocations asked for and got"),
    "lock_wait_share": Measure("%", "CPU time spent waiting for locks", "higher", of_time="other"),
    "lock_wait_mean": Measure("ns", "mean wait of a lock acquisition", "higher", ("lock",), of_time="other"),
    "lock_contended_share": Measure("%", "contended lock acquisitions", "higher", ("lock",), of_time="other"),
    "internal_waste": Measure(
        "%", "memory taken since the start that nobody asked for, at the end", "higher", of="taken"
    ),
    "memory_held": Measure("MiB", "memory taken since the start, at the end", "higher"),
    "memory_free": Measure("MiB", "memory on free lists at the end", "lower", ("zone",)),
    "memory_on_lists": Measure("MiB", "memory on per-CPU lists at the end", "", ("zone",)),
    "unusable_index": Measure("", "unusable free space index at the end", "higher", OF_BLOCKS),
    "fragmentation_index": Measure("", "fragmentation index at the end", "", OF_BLOCKS),
    "free_in_blocks": Measure("MiB", "free memory in blocks of this size and more at the end", "lower", OF_BLOCKS),
    "free_huge_pages": Measure("pages", "free huge pages at the end", "lower", ("zone",)),
    "largest_free_block": Measure("MiB", "largest free block at the end", "lower", ("zone",)),
    "largest_kmalloc": Measure("MiB", "largest kmalloc that would succeed at the end", "lower"),
    "simulated_time": Measure("ms", "simulated time after the warm-up", of_time="other"),
    "counter": Measure("count", "an event counter of vmstat", "", ("counter",)),
}
NEEDS_BLOCK = ("unusable_index", "fragmentation_index", "free_in_blocks")
DEFAULT_MEASURES = (
    "latency_mean",
    "latency_p99",
    "latency_p999",
    "lock_wait_share",
    "failed_share",
    "internal_waste",
    "free_huge_pages",
    "largest_kmalloc",
)
FILTERS = tuple(dict.fromkeys(word for measure in MEASURES.values() for word in measure.filters))
Api = Literal["pages", "slab", "kmalloc_large", "exact", "vmalloc", "kvmalloc", "bulk", "file_read"]  # in tables


def _measure(value: object) -> object:
    if not isinstance(value, str) or value not in MEASURES:
        raise refused("one_of", near=nearest(str(value), MEASURES), choices=", ".join(MEASURES))
    return value


MeasureName = Annotated[str, BeforeValidator(_measure), WithJsonSchema({"enum": list(MEASURES)})]


class ResponseConfig(WithOptions):
    """One number that is evaluated for each run."""

    measure: MeasureName
    name: Name = Field(default_factory=lambda got: got["measure"])
    kind: Kind | None = None
    api: Api | None = None
    gfp: Gfp | None = None
    order: Annotated[int, count(0, 15)] | None = None
    cache: SomeText | None = None
    lock: SomeText | None = None
    zone: Literal["DMA", "DMA32", "Normal", "Movable"] | None = None
    block: Annotated[int, size(1)] | None = None
    counter: SomeText | None = None
    primary: Bool = False

    @property
    def unit(self) -> str:
        """The unit of its values; empty for an index."""
        return MEASURES[self.measure].unit

    @property
    def meaning(self) -> str:
        """What it is, for an axis or a table."""
        return MEASURES[self.measure].meaning

    @property
    def of_kind(self) -> str | None:
        """The kind of operations that it is about; None: both, or none."""
        return self.kind or MEASURES[self.measure].kind

    @property
    def of_api(self) -> str | None:
        """The allocator's interface that it is about; None: any, or none."""
        return self.api or MEASURES[self.measure].api

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the keys of this response."""
        measure = MEASURES[self.measure]
        for word in FILTERS:
            if getattr(self, word) is not None and word not in measure.filters:
                yield finding((word,), "response_key", measure=self.measure)
        if self.kind is not None and measure.kinds and self.kind not in measure.kinds:
            yield finding(("kind",), "response_value", choice=", ".join(measure.kinds), measure=self.measure)
        if self.api is not None and measure.api not in (None, self.api):
            yield finding(("api",), "response_value", choice=measure.api, measure=self.measure)
        if self.measure in NEEDS_BLOCK and (self.order is None) == (self.block is None):
            yield finding((), "order_or_block", found="both" if self.block is not None else "neither")
        if self.measure == "counter" and self.counter is None:
            yield finding(("counter",), "required")


def _opened(value: Any) -> Any:
    """A response given by its measure alone."""
    if isinstance(value, str):
        return {"measure": value}
    if not isinstance(value, dict | ResponseConfig):
        raise refused("type_mapping")
    return value


Response = Annotated[ResponseConfig, BeforeValidator(_opened)]
DEFAULT_RESPONSES = tuple(ResponseConfig(measure=name) for name in DEFAULT_MEASURES)
