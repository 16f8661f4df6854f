"""Every critical section of whole random studies waits as it would in SimPy's own FIFO resources.

The sections are written down as a stepwise run asks for them: refills, drains, single blocks, of threads and
of interrupts, on all zones. The twin is a process for each CPU that asks for the same sections, as long
after its last one as the CPU did, of one resource for each zone.
"""

from collections.abc import Generator
from typing import NamedTuple

import pytest
import simpy

from kmsim.config import from_mapping
from kmsim.mm.locks import ZONE_LOCK
from kmsim.sim.core.records import Core
from kmsim.sim.run.clock import Step, new_environment, now_ps
from kmsim.sim.simulation import new_simulation
from tests.sim.stories import Locks, watch
from tests.sim.test_modes import random_study


class Section(NamedTuple):
    """A request for a zone's lock: how long after the CPU's last release, and what came of it, in picoseconds."""

    zone: int
    gap: int
    wait: int
    taking: int
    hold: int


def sections(seed: int) -> tuple[list[list[Section]], int, int]:
    """The sections of each CPU, in order; what a contended lock and one of another CPU cost."""
    study = random_study(seed)
    simulation = new_simulation(from_mapping(study | {"run": study["run"] | {"stepwise": True}}))
    core = simulation.core
    found: list[list[Section]] = [[] for _ in core.cpus]
    released = [0 for _ in core.cpus]

    def note(s: Core, c: int, before: Locks) -> None:
        of_zones = s.locks["lock_class"] == ZONE_LOCK
        for zone in ((s.locks["acquisitions"] - before["acquisitions"]) * of_zones).nonzero()[0]:
            run_ = s.runs[int(s.cpus[c].level) * len(s.cpus) + c]
            gap = now_ps(simulation.env) - released[c]
            parts = (int(run_.lock_wait_ps), int(run_.instructions_ps), int(run_.lock_hold_ps))
            found[c].append(Section(int(zone), gap, *parts))
            released[c] = now_ps(simulation.env) + sum(parts)

    watch(simulation, note)
    price = core.prices[0]
    return found, int(price.lock_handover + price.line_other), int(price.lock_uncontended)


def twin_waits(asked: list[list[Section]], handover: int) -> list[list[int]]:
    """How long each section waits in a queue, its handover included."""
    env = new_environment()
    locks = [simpy.Resource(env) for _ in range(4)]
    waits: list[list[int]] = [[] for _ in asked]

    def cpu(c: int) -> Generator[simpy.Event, None, None]:
        for section in asked[c]:
            yield Step(env, section.gap, c)
            start = now_ps(env)
            with locks[section.zone].request() as turn:
                contended = not turn.triggered
                yield turn
                yield env.timeout(handover if contended else section.taking)
                waits[c].append(now_ps(env) - start if contended else 0)
                yield env.timeout(section.hold)

    for c in range(len(asked)):
        env.process(cpu(c))
    env.run()
    return waits


@pytest.mark.parametrize("seed", [0, 3, 5, 7, 9, 12])
def test_every_section_of_a_random_study_waits_as_in_a_queue(seed: int) -> None:
    asked, handover, uncontended = sections(seed)
    assert sum(section.wait > 0 for of_cpu in asked for section in of_cpu) > 20
    assert all(section.taking >= uncontended or section.wait for of_cpu in asked for section in of_cpu)
    assert twin_waits(asked, handover) == [[section.wait for section in of_cpu] for of_cpu in asked]
