"""A lock of the simulation as a queue whose waiting is known by theory: M/M/1 and M/D/1.

Requests come as a Poisson process and hold the lock for a constant or an exponential time; all prices are 0,
so that a lock is handed over at once and the queue is exactly that of the books. Times are picoseconds.

Sources: Kleinrock, Queueing Systems I (1975): 5.62 (Pollaczek and Khinchine) and 5.123 (M/M/1).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.sim.core.lock import acquire
from kmsim.sim.core.records import Core
from kmsim.sim.simulation import new_simulation
from tests.studies import study

NORMAL = 2
HOLD = 1_000_000
NR_CPUS = 2

Times = NDArray[np.int64]


class Queue(NamedTuple):
    """A single server with Poisson arrivals; `load` is the share of time in which it is held."""

    hold: str  # "M": exponential, "D": constant
    load: float

    @property
    def mean_wait(self) -> float:
        """Pollaczek and Khinchine."""
        squared_variation = {"M": 1, "D": 0}[self.hold]
        return HOLD * self.load / (1 - self.load) * (1 + squared_variation) / 2

    def wait_quantile(self, q: float) -> float:
        """The waiting time that q of all requests do not exceed; of M/M/1 only."""
        assert self.hold == "M"
        return max(0.0, HOLD * math.log(self.load / (1 - q)) / (1 - self.load))

    def gaps(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Times:
        """Times between requests."""
        return whole(rng.exponential(HOLD / self.load, shape))

    def holds(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Times:
        """How long each request holds the lock."""
        if self.hold == "D":
            return np.full(shape, HOLD)
        return whole(rng.exponential(HOLD, shape))


def whole(times: NDArray[np.float64]) -> Times:
    """Whole picoseconds."""
    return np.rint(times).astype(np.int64)


def free_core() -> Core:
    """The event core of a machine whose locks cost nothing."""
    core = new_simulation(study(cpus=NR_CPUS)).core
    for name in core.prices.dtype.names:
        core.prices[name] = 0
    return core


@entry
def serve(s: Core, gaps: Times, holds: Times, waits: Times) -> None:
    """Each row of `gaps` and `holds` by a lock that is free at first: how long each request waits."""
    lock = s.locks[NORMAL]
    for run in range(len(gaps)):
        lock.free_at = 0
        lock.holder = -1
        s.state[0].now = 0
        for n in range(gaps.shape[1]):
            s.state[0].now += gaps[run, n]
            waits[run, n] = acquire(s, NORMAL, n % NR_CPUS, holds[run, n])[0]


def waits_of(core: Core, gaps: Times, holds: Times) -> Times:
    """The waiting time of each request, in the shape of `gaps`: runs, each with its requests in order."""
    core.locks[:] = 0
    waits = np.empty_like(gaps)
    serve(core, gaps, holds, waits)
    assert int(core.locks[NORMAL].acquisitions) == gaps.size
    return waits
