"""A FIFO spinlock as a timestamp does what a queue of waiting processes does."""

from collections.abc import Generator
from dataclasses import asdict
from typing import Any, NamedTuple

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from kmsim.sim.clock import now_ps
from kmsim.sim.lock import SpinLock


class Request(NamedTuple):
    """A request at picosecond `at` to hold the lock for `hold`."""

    at: int
    hold: int


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """Requests in the order of time, many at one instant or just when the lock is released."""
    pairs = draw(st.lists(st.tuples(st.sampled_from([0, 0, 1, 5, 17, 1000]), st.sampled_from([0, 1, 5, 17, 400]))))
    at, found = 0, []
    for gap, hold in pairs:
        at += gap
        found.append(Request(at, hold))
    return found


def queued(asked: list[Request]) -> list[tuple[int, int]]:
    """The wait and the release of each request, by SimPy's own FIFO resource."""
    env = simpy.Environment(initial_time=0)
    lock = simpy.Resource(env, capacity=1)
    served: dict[int, tuple[int, int]] = {}

    def holder(n: int, request: Request) -> Generator[simpy.Event, None, None]:
        yield env.timeout(request.at)
        with lock.request() as turn:
            yield turn
            wait = now_ps(env) - request.at
            yield env.timeout(request.hold)
        served[n] = (wait, now_ps(env))

    for n, request in enumerate(asked):
        env.process(holder(n, request))
    env.run()
    return [served[n] for n in range(len(asked))]


def stamped(asked: list[Request]) -> tuple[SpinLock, list[tuple[int, int]]]:
    """The same by the lock of the simulation, and the lock."""
    lock = SpinLock("zone Normal")
    served = []
    for request in asked:
        released = lock.acquire(request.at, request.hold)
        served.append((released - request.hold - request.at, released))
    return lock, served


@settings(deadline=None, max_examples=300)
@given(requests())
def test_waits_and_releases_are_those_of_a_queue(asked: list[Request]) -> None:
    assert stamped(asked)[1] == queued(asked)


@settings(deadline=None, max_examples=300)
@given(requests())
def test_statistics_count_what_the_queue_saw(asked: list[Request]) -> None:
    waits = [wait for wait, _ in queued(asked)]
    holds = [request.hold for request in asked]
    lock, served = stamped(asked)
    assert asdict(lock) == {
        "name": "zone Normal",
        "free_at": served[-1][1] if served else 0,
        "acquisitions": len(asked),
        "contended": sum(wait > 0 for wait in waits),
        "wait_total": sum(waits),
        "wait_max": max(waits, default=0),
        "hold_total": sum(holds),
        "hold_max": max(holds, default=0),
    }


def test_three_cpus_wait_in_the_order_in_which_they_asked() -> None:
    _, served = stamped([Request(10, 100), Request(20, 5), Request(30, 5), Request(500, 1)])
    assert served == [(0, 110), (90, 115), (85, 120), (0, 501)]


@pytest.mark.parametrize(("now", "held"), [(0, True), (99, True), (100, False), (101, False)])
def test_a_lock_is_held_until_the_instant_of_its_release(now: int, held: bool) -> None:
    lock = SpinLock("zone DMA")
    lock.acquire(0, 100)
    assert lock.is_held(now) is held


def test_a_negative_hold_is_a_bug() -> None:
    lock: Any = SpinLock("zone DMA")
    with pytest.raises(AssertionError):
        lock.acquire(0, -1)
