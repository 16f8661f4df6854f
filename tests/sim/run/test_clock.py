"""The clock: whole picoseconds, and one order of events at one instant."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy

from kmsim.sim.run.clock import Step, new_environment, now_ps

Story = list[tuple[int, Any]]


def on_cpu(env: simpy.Environment, cpu: int, delays: list[int], log: Story) -> Generator[simpy.Event, None, None]:
    for delay in delays:
        yield Step(env, delay, cpu)
        log.append((now_ps(env), cpu))


def beside(env: simpy.Environment, name: str, delay: int, log: Story) -> Generator[simpy.Event, None, None]:
    yield env.timeout(delay)
    log.append((now_ps(env), name))


def test_steps_end_when_their_delays_say() -> None:
    env, log = new_environment(), []
    env.process(on_cpu(env, 0, [3, 4], log))
    env.process(on_cpu(env, 1, [5, 0], log))
    env.run()
    assert log == [(3, 0), (5, 1), (5, 1), (7, 0)]


def test_cpus_act_at_one_instant_in_the_order_of_their_numbers_whoever_asked_first() -> None:
    env, log = new_environment(), []
    for cpu in (255, 0, 7, 3):
        env.process(on_cpu(env, cpu, [10], log))
    env.run()
    assert log == [(10, 0), (10, 3), (10, 7), (10, 255)]


def test_the_steps_of_one_cpu_at_one_instant_end_in_the_order_in_which_they_began() -> None:
    env, log = new_environment(), []
    for name in ("first", "second"):
        Step(env, 10, 4).callbacks.append(lambda _, name=name: log.append(name))
    env.run()
    assert log == ["first", "second"]


def test_other_processes_act_before_the_cpus_at_one_instant() -> None:
    env, log = new_environment(), []
    env.process(on_cpu(env, 0, [10], log))
    env.process(beside(env, "sampler", 10, log))
    env.run()
    assert log == [(10, "sampler"), (10, 0)]


@pytest.mark.parametrize("delay", [1.0, 0.5, np.int64(1), np.float64(2), True, "1"])
def test_a_delay_that_is_no_whole_number_is_refused(delay: Any) -> None:
    env = new_environment()
    with pytest.raises(TypeError, match="whole picoseconds"):
        Step(env, delay, 0)
    assert env.peek() == float("inf")


def test_a_step_into_the_past_is_refused() -> None:
    with pytest.raises(AssertionError, match="backwards"):
        Step(new_environment(), -1, 0)


def test_the_clock_is_exact_after_a_simulated_day() -> None:
    env, log = new_environment(), []
    day_ps = 86_400 * 10**12
    env.process(on_cpu(env, 0, [day_ps, 1], log))
    env.run()
    assert log == [(day_ps, 0), (day_ps + 1, 0)]


@pytest.mark.parametrize("delay", [1.5, 2.0, True])
def test_a_delay_that_is_no_whole_number_of_picoseconds_is_refused(delay: float) -> None:
    with pytest.raises(TypeError, match=r"the clock counts whole picoseconds, not .*: use int\(\) or round\(\)"):
        new_environment().timeout(delay)
