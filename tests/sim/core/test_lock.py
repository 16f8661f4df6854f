"""A FIFO spinlock as a timestamp does what a queue of waiting processes does.

The oracle is SimPy's own FIFO resource: alone, and as the zone's lock of a whole twin of the
simulation in which every CPU is a process.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.sim.core.lock import acquire
from kmsim.sim.core.records import Core
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import new_simulation, run
from tests.op_blocks import Blocks
from tests.studies import lock_prices_only, study

NORMAL = 2
UNCONTENDED, HANDOVER, OTHER = 15_000, 100_000, 70_000


class Request(NamedTuple):
    """CPU `c` asks at picosecond `at` to hold the lock for `hold`."""

    at: int
    c: int
    hold: int


class Grant(NamedTuple):
    """What became of a request."""

    wait: int
    taking: int
    released: int


@entry
def ask(s: Core, now: int, z: int, c: int, hold: int) -> tuple[int, int, int]:
    """`acquire` for Python callers."""
    s.state[0].now = now
    return acquire(s, z, c, hold)


@pytest.fixture(scope="module")
def core() -> Core:
    prices = lock_prices_only() | {"line_other": {"value": "70ns", "source": "for a test"}}
    return new_simulation(study(costs=prices)).core


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """Requests in the order of time, many at one instant or just when the lock is released."""
    gaps = st.sampled_from([0, 0, 1, 5, 15_000, 17_000, 100_017, 1_000_000])
    parts = draw(st.lists(st.tuples(gaps, st.integers(0, 1), st.sampled_from([0, 1, 5, 17, 400_000]))))
    at, found = 0, []
    for gap, c, hold in parts:
        at += gap
        found.append(Request(at, c, hold))
    return found


def stamped(core: Core, asked: list[Request]) -> list[Grant]:
    """By the lock of the simulation."""
    core.locks[:] = 0
    core.locks["holder"] = -1
    return [Grant(*ask(core, request.at, NORMAL, request.c, request.hold)) for request in asked]


def queued(asked: list[Request]) -> list[Grant]:
    """By SimPy's FIFO resource; a lock that is handed over is nobody's while it travels."""
    env = simpy.Environment(initial_time=0)
    lock = simpy.Resource(env, capacity=1)
    granted: dict[int, Grant] = {}
    holder = -1

    def cpu(n: int, request: Request) -> Generator[simpy.Event, None, None]:
        nonlocal holder
        yield env.timeout(request.at)
        with lock.request() as turn:
            contended = not turn.triggered
            yield turn
            taking = HANDOVER + OTHER if contended else UNCONTENDED + OTHER * (holder != request.c)
            holder = request.c
            yield env.timeout(taking)
            wait = now_ps(env) - request.at if contended else 0
            yield env.timeout(request.hold)
        granted[n] = Grant(wait, 0 if contended else taking, now_ps(env))

    for n, request in enumerate(asked):
        env.process(cpu(n, request))
    env.run()
    return [granted[n] for n in range(len(asked))]


def without_ties(asked: list[Request]) -> list[Request]:
    """Drop requests that come at the very instant of a release: which is first there is a matter of taste."""
    kept: list[Request] = []
    for request in asked:
        if request.at not in {grant.released for grant in queued(kept)}:
            kept.append(request)
    return kept


@given(asked=requests())
def test_waits_and_releases_are_those_of_a_queue(core: Core, asked: list[Request]) -> None:
    asked = without_ties(asked)
    assert stamped(core, asked) == queued(asked)


@given(asked=requests())
def test_statistics_count_what_the_queue_saw(core: Core, asked: list[Request]) -> None:
    asked = without_ties(asked)
    waits = [grant.wait for grant in queued(asked)]
    holds = [request.hold for request in asked]
    stamped(core, asked)
    lock = core.locks[NORMAL]
    assert (lock.acquisitions, lock.contended) == (len(asked), sum(wait > 0 for wait in waits))
    assert (lock.wait_total, lock.wait_max) == (sum(waits), max(waits, default=0))
    assert (lock.hold_total, lock.hold_max) == (sum(holds), max(holds, default=0))


def test_three_requests_wait_in_the_order_in_which_they_were_made(core: Core) -> None:
    asked = [Request(10, 0, 100), Request(20, 1, 5), Request(30, 0, 5)]
    first = 10 + UNCONTENDED + OTHER + 100
    second = first + HANDOVER + OTHER + 5
    assert stamped(core, asked) == [
        Grant(0, UNCONTENDED + OTHER, first),
        Grant(first + HANDOVER + OTHER - 20, 0, second),
        Grant(second + HANDOVER + OTHER - 30, 0, second + HANDOVER + OTHER + 5),
    ]


@pytest.mark.parametrize(("after", "contended"), [(-1, True), (0, False), (1, False)])
def test_a_lock_is_held_until_the_instant_of_its_release(core: Core, after: int, contended: bool) -> None:
    released = UNCONTENDED + OTHER + 10
    stamped(core, [Request(0, 0, 10), Request(released + after, 0, 10)])
    assert core.locks[NORMAL].contended == contended


def twin_latencies(gaps: list[NDArray[np.int64]]) -> list[list[int]]:
    """Every CPU a process, the zone's lock a resource: all latencies, where the prices are those of the locks only."""
    env = simpy.Environment(initial_time=0)
    lock = simpy.Resource(env, capacity=1)
    found: list[list[int]] = [[] for _ in gaps]

    def cpu(c: int) -> Generator[simpy.Event, None, None]:
        for n, gap in enumerate(gaps[c].tolist()):
            yield env.timeout(gap)
            start = now_ps(env)
            yield env.timeout(61_000 if n % 2 == 0 else 56_000)
            with lock.request() as turn:
                contended = not turn.triggered
                yield turn
                yield env.timeout(HANDOVER if contended else UNCONTENDED)
            found[c].append(now_ps(env) - start)

    for c in range(len(gaps)):
        env.process(cpu(c))
    env.run()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_twin_made_of_resources_has_the_same_latencies(seed: int) -> None:
    # Exponential pauses: no two requests fall on one instant.
    churn = {"operations": 400, "live": 1, "requests": [{"order": 4}], "think": {"exponential": "300ns"}}
    simulation = new_simulation(study(churn, seed=seed, cpus=4, costs=lock_prices_only()))
    for _ in run(simulation):
        pass
    gaps = [np.concatenate([block.ops["gap_ps"] for block in Blocks(simulation.plan, k, seed)]) for k in range(4)]
    twins = twin_latencies(gaps)
    assert simulation.core.locks["contended"].sum() > 100
    for c in range(4):
        count, total, longest = simulation.core.totals[:, c, :3].T
        assert (count.sum(), total.sum(), longest.max()) == (400, sum(twins[c]), max(twins[c]))
