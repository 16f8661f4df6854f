"""Spinlocks that are taken with interrupts on wait as SimPy's FIFO resources do, and interrupts lengthen their holders.

The sections of vmalloc's spinlocks are written down as a stepwise run asks for them, and so is when each CPU
serves interrupts. The twin has a process for each CPU, which asks for the same sections at the same times; what
is done under a lock goes on only while the CPU serves no interrupt.
"""

from collections.abc import Generator
from typing import Any, NamedTuple

import pytest
import simpy

from kmsim.config import from_mapping
from kmsim.mm.locks import LOCK_SPIN
from kmsim.sim.core.records import NOBODY, Core
from kmsim.sim.run.clock import Step, new_environment, now_ps
from kmsim.sim.simulation import new_simulation
from kmsim.workload.plan import THREAD
from tests.sim.stories import watch
from tests.studies import Mapping, mapping

Span = tuple[int, int]


class Section(NamedTuple):
    """A request for a lock: when, for how much work, and when it was granted and let go of; picoseconds."""

    lock: int
    at: int
    work: int
    granted: int
    released: int


class Story:
    """What happened on each CPU of a stepwise run."""

    def __init__(self, nr_cpus: int) -> None:
        self.sections: list[list[Section]] = [[] for _ in range(nr_cpus)]
        self.interrupts: list[list[Span]] = [[] for _ in range(nr_cpus)]
        self._asked: dict[int, tuple[int, int]] = {}  # by CPU: the lock and since when
        self._granted: dict[int, tuple[int, int]] = {}  # by CPU: the work and since when
        self._above: dict[int, int] = {}  # by CPU: since when it serves interrupts

    def note(self, s: Core, c: int, before: Any) -> None:
        """A CPU has had its event; `before` are the locks as they were."""
        now, nr_cpus = int(s.state[0].now), len(s.cpus)
        spinlocks = spinlocks_of(s)
        changed = [n for n in spinlocks if (before[n].run, before[n].since) != (s.locks[n].run, s.locks[n].since)]
        for n in changed:
            if before[n].run != NOBODY:
                self._close(int(before[n].run) % nr_cpus, now)
        asked = [n for n in spinlocks if before[n].acquisitions != s.locks[n].acquisitions]
        for n in asked:
            assert s.cpus[c].level == THREAD
            self._asked[c] = (n, now)
        for n in changed:
            if s.locks[n].run != NOBODY:
                holder, of = s.runs[s.locks[n].run], int(s.locks[n].run) % nr_cpus
                price = holder.instructions_ps if n in asked and of == c else handover(s)
                self._granted[of] = (int(price + holder.lock_hold_ps), now)
        if s.cpus[c].level > THREAD:
            self._above.setdefault(c, now)
        elif c in self._above:
            self.interrupts[c].append((self._above.pop(c), now))

    def _close(self, c: int, now: int) -> None:
        lock, at = self._asked.pop(c)
        self.sections[c].append(Section(lock, at, *self._granted.pop(c), now))


def handover(core: Core) -> int:
    """From a release to the next holder, the lock's line included."""
    return int(core.prices[0].lock_handover + core.prices[0].line_other)


def spinlocks_of(core: Core) -> list[int]:
    """The locks that are taken with interrupts on."""
    found: list[int] = (core.locks["kind"] == LOCK_SPIN).nonzero()[0].tolist()
    return found


def crowd(seed: int) -> Mapping:
    """Many areas of all lengths on few nodes, and interrupts that take long."""
    sizes: list[Any] = [{"uniform": {"low": "1B", "high": "40KiB"}}, "2MiB"]
    asked = [{"api": "vmalloc", "bytes": size, "weight": 20 - 19 * n} for n, size in enumerate(sizes)]
    areas = {"operations": 300, "live": 5, "requests": asked, "cpus": [0, 1, 2, 3], "remote_frees": 0.5}
    often = {"name": "often", "kind": "irq", "cpus": [0, 1, 2], "arrivals": {"poisson": "4us"}, "lifetime": "immediate"}
    return mapping(areas, areas, seed=seed, cpus=4, memory="128MiB", interrupts=[often])


def story_of(seed: int) -> tuple[Story, Core]:
    """The story of a run of `crowd`."""
    simulation = new_simulation(from_mapping(crowd(seed) | {"run": {"stepwise": True}}))
    core = simulation.core
    assert core.vm is not None
    story = Story(len(core.cpus))
    watch(simulation, story.note)
    return story, core


def end_of(start: int, work: int, interrupts: list[Span]) -> int:
    """When work that began at `start` is done, on a CPU that serves interrupts meanwhile."""
    now = start
    for begun, over in interrupts:
        if over <= now:
            continue
        if begun >= now + work:
            break
        work -= max(0, begun - now)
        now = over
    return now + work


def twin(story: Story) -> list[list[Span]]:
    """When each section is granted and let go of, by SimPy's queues."""
    env = new_environment()
    locks = {section.lock: simpy.Resource(env) for of_cpu in story.sections for section in of_cpu}
    found: list[list[Span]] = [[] for _ in story.sections]

    def cpu(c: int) -> Generator[simpy.Event, None, None]:
        for section in story.sections[c]:
            yield Step(env, section.at - now_ps(env), c)
            with locks[section.lock].request() as turn:
                yield turn
                granted = now_ps(env)
                yield Step(env, end_of(granted, section.work, story.interrupts[c]) - granted, c)
                found[c].append((granted, now_ps(env)))

    for c in range(len(story.sections)):
        env.process(cpu(c))
    env.run()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_every_section_waits_and_lasts_as_in_a_queue_of_interrupted_cpus(seed: int) -> None:
    story, core = story_of(seed)
    sections = [section for of_cpu in story.sections for section in of_cpu]
    waited = [section for section in sections if section.granted > section.at]
    assert len(waited) > 20
    assert sum(section.released - section.granted > section.work for section in sections) > 20
    during = [
        section
        for c, of_cpu in enumerate(story.sections)
        for section in of_cpu
        if any(begun < section.granted < over for begun, over in story.interrupts[c])
    ]
    assert during, "no lock was granted to a CPU within an interrupt"
    expected = [[(section.granted, section.released) for section in of_cpu] for of_cpu in story.sections]
    assert twin(story) == expected
    spinlocks = spinlocks_of(core)
    assert sum(int(core.locks[n].contended) for n in spinlocks) >= len(waited)
    handovers = len(waited) * handover(core)
    waits = sum(section.granted - section.at for section in waited)
    assert sum(int(core.locks[n].wait_total) for n in spinlocks) >= waits + handovers


def test_work_goes_on_where_an_interrupt_left_it() -> None:
    assert end_of(10, 5, []) == 15
    assert end_of(10, 5, [(0, 9), (12, 20), (21, 22), (40, 50)]) == 24
    assert end_of(10, 5, [(5, 30)]) == 35
