"""What a thread does one after another: churn, fill up, empty out.

A phase inherits from its thread what it does not say itself. Leaves out: what follows from the
thread's own keys being there or not is in ``workload``.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from kmsim.config.arrivals import Arrivals
from kmsim.config.distributions import Distribution, Lifetime
from kmsim.config.quantities import Bool, Finding, WithOptions, count, finding, some_items, time
from kmsim.config.requests import RequestConfig

OPERATIONS_MAX = 10**12

Free = Literal["random", "fifo", "lifo"]
Requests = Annotated[tuple[RequestConfig, ...], some_items]

# What a phase may not say, by what it does.
_NOT_FOR = {
    "churn": ("whose",),
    "fill": ("operations", "until", "lifetime", "free", "whose"),
    "empty": ("operations", "until", "lifetime", "requests"),
}


class PhaseConfig(WithOptions):
    """One phase of every thread of a kind."""

    do: Literal["churn", "fill", "empty"]
    operations: Annotated[int, count(1, OPERATIONS_MAX)] | None = None
    until: Annotated[int, time(1)] | None = None
    think: Distribution | None = None
    arrivals: Arrivals | None = None
    requests: Requests | None = None
    free: Free | None = None
    lifetime: Lifetime | None = None
    whose: Literal["own", "all"] | None = None
    barrier: Bool = False

    def findings(self) -> Iterator[Finding]:
        """What is wrong within this phase."""
        for key in _NOT_FOR[self.do]:
            if getattr(self, key) is not None:
                yield finding((key,), "phase_key", do=self.do)
        if self.do == "churn" and (self.operations is None) == (self.until is None):
            yield finding((), "phase_length")
        if self.whose == "all" and self.free is not None:
            yield finding(("free",), "left_out", key="whose: all")
        if self.do == "churn" and self.lifetime is not None and self.free is not None:
            yield finding(("free",), "left_out", key="lifetime")
        for n, request in enumerate(self.requests or ()):
            for found in request.findings():
                yield found._replace(loc=("requests", n, *found.loc))
