"""The tournament over the CPUs' times: against `min` over all of them."""

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.sim.core.records import CPU_BITS, NEVER, Core
from kmsim.sim.core.winner_tree import set_time
from kmsim.sim.simulation import new_simulation
from tests.studies import study

NR_UPDATES = 1000


@entry
def put(s: Core, c: int, time: int) -> None:
    """`set_time` for Python callers."""
    set_time(s, c, time)


def winner(core: Core) -> tuple[int, int]:
    """When something happens next, and on which CPU."""
    time, c = divmod(int(core.tree[0]), 1 << CPU_BITS)
    return time, c


@pytest.mark.parametrize("times", [3, NEVER])  # few different times, and hardly two that are equal
@pytest.mark.parametrize("nr_cpus", [1, 2, 3, 4, 5, 64, 100, 255, 256])
def test_the_earliest_cpu_wins_and_of_equals_the_lowest(nr_cpus: int, times: int) -> None:
    core = new_simulation(study(cpus=nr_cpus, memory="256MiB")).core
    rng = np.random.default_rng(nr_cpus)
    assert winner(core) == (NEVER, 0)
    for c, time in zip(rng.integers(0, nr_cpus, NR_UPDATES), rng.integers(0, times, NR_UPDATES), strict=True):
        put(core, int(c), int(time))
        assert core.cpus[c].time == time
        assert winner(core) == min((int(time), c) for c, time in enumerate(core.cpus["time"]))


def test_cpus_that_are_never_due_give_way_to_one_that_is() -> None:
    core = new_simulation(study(cpus=3)).core
    put(core, 2, NEVER - 1)
    assert winner(core) == (NEVER - 1, 2)
    put(core, 2, NEVER)
    assert winner(core) == (NEVER, 0)


def test_the_largest_time_and_cpu_fit_into_a_word() -> None:
    largest = NEVER << CPU_BITS | (1 << CPU_BITS) - 1
    assert largest <= np.iinfo(np.int64).max
