"""Who asks for memory: threads pinned to CPUs, what they request, how fast, and what they hold.

Leaves out: distributions of sizes beyond weighted requests, traces, arrival processes (later issues).
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, WithJsonSchema

from kmsim.config.quantities import (
    Finding,
    Gfp,
    Model,
    Name,
    Time,
    count,
    finding,
    number,
    only_key,
    refused,
    some_items,
)

OPERATIONS_MAX = 10**12
LIVE_MAX = 1 << 28  # the frames of 1 TiB in pages of 4 KiB
WEIGHT_MAX = 10**9
THINK_KEYS = ("constant", "exponential")


class Constant(Model):
    """The same pause every time."""

    kind: ClassVar[str] = "constant"
    constant: Time

    @property
    def mean_ps(self) -> int:
        """The mean pause."""
        return self.constant


class Exponential(Model):
    """Exponentially distributed pauses with this mean."""

    kind: ClassVar[str] = "exponential"
    exponential: Time

    @property
    def mean_ps(self) -> int:
        """The mean pause."""
        return self.exponential


def _opened(value: Any) -> Any:
    if isinstance(value, str):
        return {"constant": value}
    if not isinstance(value, Model):
        only_key(value, THINK_KEYS, "think")
    return value


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next(f"~{name}" for name in THINK_KEYS if name in keys)


Think = Annotated[
    Annotated[Constant, Tag("~constant")] | Annotated[Exponential, Tag("~exponential")],
    Discriminator(_tag),
    BeforeValidator(_opened),
]


class RequestConfig(Model):
    """One kind of allocation, chosen with a probability proportional to its weight."""

    gfp: Gfp = "GFP_KERNEL"
    order: Annotated[int, count(0)] = 0
    weight: Annotated[float, number(above=0, high=WEIGHT_MAX)] = 1.0

    @property
    def gfp_flags(self) -> int:
        """The flags as the kernel's bit mask."""
        from kmsim.mm.gfp import parse_gfp

        return parse_gfp(self.gfp)

    def findings(self) -> Iterator[Finding]:
        """Why the kernel would warn of this request."""
        from kmsim.mm.gfp import gfp_problem

        why = gfp_problem(self.gfp_flags, self.order)
        if why is not None:
            found = None if gfp_problem(self.gfp_flags, 0) else f"{self.gfp!r} with order {self.order}"
            yield finding(("gfp",), "gfp_problem", found=found, why=why)


def _cpus(value: Any, info: ValidationInfo) -> Any:
    """``all`` is every CPU of the machine, which the door hands in as context."""
    if value == "all":
        return list(range((info.context or {}).get("cpus", 1)))
    if not isinstance(value, list | tuple):
        raise refused("type_cpus")
    return value


Cpus = Annotated[
    tuple[Annotated[int, count(0)], ...],
    some_items,
    BeforeValidator(_cpus),
    WithJsonSchema(
        {"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}
    ),
]


class ThreadConfig(Model):
    """Threads of one kind, one pinned on each of its CPUs."""

    name: Name
    cpus: Cpus = Field(default=cast(Any, "all"), validate_default=True)
    operations: Annotated[int, count(1, OPERATIONS_MAX)] = 10_000
    think: Think = Constant.model_construct(constant=0)
    requests: Annotated[tuple[RequestConfig, ...], some_items] = (RequestConfig(),)
    live: Annotated[int, count(0, LIVE_MAX)] = 64
    free: Literal["random", "fifo", "lifo"] = "random"

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this thread."""
        seen: set[int] = set()
        for n, cpu in enumerate(self.cpus):
            if cpu in seen:
                yield finding(("cpus", n), "cpu_twice")
            seen.add(cpu)
        for n, request in enumerate(self.requests):
            for found in request.findings():
                yield found._replace(loc=("requests", n, *found.loc))

    def machine_findings(self, cpus: int | None, max_page_order: int | None) -> Iterator[Finding]:
        """What the machine cannot give to this thread; None where that is not known."""
        for n, cpu in enumerate(self.cpus):
            if cpus is not None and cpu >= cpus:
                yield finding(("cpus", n), "cpu_machine", last=cpus - 1)
        for n, request in enumerate(self.requests):
            if max_page_order is not None and request.order > max_page_order:
                yield finding(("requests", n, "order"), "order_machine", limit=max_page_order)


class WorkloadConfig(Model):
    """Everything that runs on the machine."""

    threads: Annotated[tuple[ThreadConfig, ...], some_items]
