"""SimPy's clock in integer picoseconds, with ties broken the same way on every machine.

Events at one instant are ordered by (time, priority, sequence). Other SimPy processes act at
SimPy's own priorities (0 and 1), then the CPUs, in the order of their numbers.
"""

from typing import Any

import simpy

from kmsim.mm.indices import CpuIdx

CPU_PRIORITY = 2


class Step(simpy.Event):
    """The end of a stage on a CPU: fires `delay_ps` from now."""

    def __init__(self, env: simpy.Environment, delay_ps: int, cpu: CpuIdx) -> None:
        if type(delay_ps) is not int:
            raise TypeError(f"the clock counts whole picoseconds, not {delay_ps!r}")
        assert delay_ps >= 0, "the clock does not run backwards"
        super().__init__(env)
        self._ok = True
        self._value = None
        schedule: Any = env.schedule  # SimPy declares its two priorities only; any int orders
        schedule(self, CPU_PRIORITY + cpu, delay_ps)


class Environment(simpy.Environment):
    """SimPy's environment, but a delay is a whole number of picoseconds; TypeError for any other."""

    def schedule(self, event: simpy.Event, priority: Any = 1, delay: Any = 0) -> None:
        """Put an event on the clock."""
        if type(delay) is not int:
            raise TypeError(f"the clock counts whole picoseconds, not {delay!r}: use int() or round()")
        super().schedule(event, priority, delay)


def new_environment() -> simpy.Environment:
    """A clock that stands at picosecond 0."""
    return Environment(initial_time=0)


def now_ps(env: simpy.Environment) -> int:
    """The time, which is whole as long as nobody schedules a float."""
    now = env.now
    assert isinstance(now, int), "a process moved the clock by a float"
    return now
