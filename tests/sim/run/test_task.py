"""What a task does over its life: timed blocks, arrivals, phases, and threads that are never let.

The prices are in `tests.sim.stories`.
"""

from itertools import pairwise

from kmsim.config import Study
from kmsim.sim.core.records import Core
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Observer
from kmsim.sim.run.sampler import LIVELOCK_PS
from kmsim.sim.simulation import new_simulation, run
from kmsim.workload.plan import nr_operations, plan_of
from tests.sim.stories import ONE, cheap, finished, prices, source, told

MS = 10**9
BLOCKS = {"cpus": [0], "requests": [{"order": 4}]}


# ---- lifetimes


def test_a_block_of_no_lifetime_is_freed_at_once() -> None:
    assert told(cheap(BLOCKS | {"operations": 4, "lifetime": "immediate"})) == [
        (0, 0, "t0 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 free"),
        (147, 0, "t0 free done"),
        (147, 0, "t0 alloc"),
        (223, 0, "t0 alloc done"),  # the run is over
    ]


def test_a_thread_that_sleeps_wakes_to_free_what_is_due() -> None:
    assert told(cheap(BLOCKS | {"operations": 4, "lifetime": "300ns", "think": "1us"})) == [
        (1000, 0, "t0 alloc"),
        (1076, 0, "t0 alloc done"),
        (1376, 0, "t0 free"),
        (1447, 0, "t0 free done"),
        (2076, 0, "t0 alloc"),  # a microsecond after its own operation
        (2152, 0, "t0 alloc done"),
    ]


def test_a_busy_thread_frees_what_is_due_when_its_turn_has_come() -> None:
    assert told(cheap(BLOCKS | {"operations": 8, "lifetime": "100ns"})) == [
        (0, 0, "t0 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 alloc"),
        (152, 0, "t0 alloc done"),
        (152, 0, "t0 alloc"),  # wanted at 152; the first block is due at 176
        (228, 0, "t0 alloc done"),
        (228, 0, "t0 free"),
        (299, 0, "t0 free done"),
        (299, 0, "t0 alloc"),  # wanted at 228; the second block is due at 252
        (375, 0, "t0 alloc done"),
    ]


def test_blocks_that_another_thread_frees_wake_it_when_they_are_due() -> None:
    producer = BLOCKS | {"name": "producer", "operations": 4, "think": "500ns", "freed_by": "consumer"}
    consumer = ONE | {"name": "consumer", "cpus": [1], "think": "5us"}
    assert told(cheap(producer | {"lifetime": "700ns"}, consumer)) == [
        (500, 0, "producer alloc"),
        (576, 0, "producer alloc done"),
        (1076, 0, "producer alloc"),
        (1152, 0, "producer alloc done"),
        (1276, 1, "consumer free"),
        (1347, 1, "consumer free done"),
        (1852, 1, "consumer free"),
        (1923, 1, "consumer free done"),
        (5000, 1, "consumer alloc"),  # its own operation is not put off
        (5076, 1, "consumer alloc done"),
    ]


def test_every_timed_block_is_freed_where_there_is_time() -> None:
    timed = BLOCKS | {"operations": 1000, "lifetime": {"exponential": "2us"}, "freed_by": "freer", "think": "100ns"}
    core = finished(cheap(timed, {"name": "freer", "cpus": [1], "operations": 1, "think": "1ms"})).core
    assert core.tasks["nr_due"].tolist()[:2] == [0, 0]
    assert core.tasks["nr_done"].tolist()[:2] == [500, 501]


def test_an_odd_number_of_operations_is_done_as_announced_and_the_last_block_is_kept() -> None:
    odd = BLOCKS | {"operations": 9, "lifetime": "100ns", "think": "1us"}
    config = cheap(odd, {"name": "longer", "cpus": [1], "operations": 1, "think": "1ms"})
    core = finished(config).core
    assert core.tasks["nr_done"].tolist()[:2] == [9, 1]
    assert core.tasks["nr_due"].tolist()[:2] == [0, 0]
    assert nr_operations(plan_of(config.workload, config.machine)) == 10


class Held(Observer):
    """Writes down the timed blocks, in the order of allocation with the time, and in that of their frees."""

    def __init__(self) -> None:
        self.allocated: list[tuple[int, int]] = []
        self.freed: list[int] = []

    def after(self, core: Core, _: int) -> None:
        held = {int(block) for block in core.timed["block"] if block > 0}
        before = {block for _, block in self.allocated} - set(self.freed)
        self.freed += before - held  # an event is one CPU's: it frees one at most, or allocates one
        self.allocated += [(int(core.state[0].now), block) for block in held - before]


def test_blocks_that_are_due_at_one_instant_are_freed_in_the_order_of_their_allocation() -> None:
    early = {"cpus": [2], "operations": 1, "lifetime": "immortal"}  # CPU 2 is to refill its list before CPU 0
    pair = {"cpus": [0, 2], "operations": 100, "arrivals": {"constant": "1us"}, "lifetime": "99us", "freed_by": "freer"}
    freer = {"name": "freer", "cpus": [1], "operations": 1, "think": "300us"}
    study = cheap(early, pair, freer, cpus=3)
    simulation = new_simulation(study.model_copy(update={"run": study.run.model_copy(update={"stepwise": True})}))
    held = Held()
    simulation.engine.observers.append(held)
    list(run(simulation))
    assert held.freed == [block for _, block in held.allocated]
    assert len(held.freed) == 100
    pairs = pairwise(held.allocated)
    against_pfns = [one for one, other in pairs if one[0] == other[0] and one[1] > other[1]]
    assert len(against_pfns) > 10, "their order is that of their page frames, too"


# ---- arrivals


def test_arrivals_wait_while_their_cpu_is_taken_and_keep_their_times() -> None:
    arrivals = ONE | {"cpus": [0], "operations": 4, "live": 4, "arrivals": {"constant": "200ns"}}
    irq = source("irq", arrivals={"constant": "210ns"}, operations=1)
    assert told(cheap(arrivals, interrupts=[irq], costs=prices(interrupt="250ns"))) == [
        (200, 0, "t0 alloc"),
        (460, 0, "irq alloc"),
        (536, 0, "irq alloc done"),
        (602, 0, "t0 alloc done"),
        (602, 0, "t0 alloc"),  # arrived at 400
        (678, 0, "t0 alloc done"),
        (678, 0, "t0 alloc"),  # arrived at 600
        (754, 0, "t0 alloc done"),
        (800, 0, "t0 alloc"),  # the queue is empty, and nobody is late
        (876, 0, "t0 alloc done"),
    ]


# ---- phases


def test_no_thread_passes_a_barrier_before_all_have_come() -> None:
    phases = [{"do": "fill", "think": "1us"}, {"do": "empty", "barrier": True}]
    assert told(cheap(BLOCKS | {"cpus": [0, 1], "live": 2, "phases": phases})) == [
        (1000, 0, "t0 alloc"),
        (1000, 1, "t0 alloc"),
        (1076, 0, "t0 alloc done"),
        (1176, 1, "t0 alloc done"),
        (2076, 0, "t0 alloc"),
        (2152, 0, "t0 alloc done"),  # the first has come
        (2176, 1, "t0 alloc"),
        (2252, 1, "t0 alloc done"),
        (2252, 0, "t0 free"),
        (2252, 1, "t0 free"),
        (2323, 0, "t0 free done"),
        (2323, 0, "t0 free"),
        (2423, 1, "t0 free done"),
        (2423, 1, "t0 free"),
        (2523, 0, "t0 free done"),
        (2623, 1, "t0 free done"),
    ]


def test_a_phase_until_a_time_begins_nothing_from_then_on() -> None:
    churn = {"do": "churn", "until": "1us"}
    assert told(cheap(BLOCKS | {"live": 9, "phases": [churn | {"think": "200ns"}]})) == [
        (200, 0, "t0 alloc"),
        (276, 0, "t0 alloc done"),
        (476, 0, "t0 alloc"),
        (552, 0, "t0 alloc done"),
        (752, 0, "t0 alloc"),
        (828, 0, "t0 alloc done"),  # the next would begin at 1028
    ]
    arrivals = {"constant": "250ns"}
    in_time = told(cheap(BLOCKS | {"live": 9, "arrivals": arrivals, "phases": [churn]}))
    assert [ns for ns, _, what in in_time if what == "t0 alloc"] == [250, 500, 750]  # 1000 is too late


def test_the_phase_after_begins_at_that_time() -> None:
    phases = [{"do": "churn", "until": "10us", "think": "20us"}, {"do": "fill", "think": "1us"}]
    log = told(cheap(BLOCKS | {"live": 1, "phases": phases}))
    assert log == [(11_000, 0, "t0 alloc"), (11_076, 0, "t0 alloc done")]


def test_a_phase_until_a_time_that_is_past_does_nothing() -> None:
    phases = [{"do": "fill", "think": "1us"}, {"do": "churn", "until": "500ns"}, {"do": "empty"}]
    assert told(cheap(BLOCKS | {"live": 1, "phases": phases})) == [
        (1000, 0, "t0 alloc"),
        (1076, 0, "t0 alloc done"),
        (1076, 0, "t0 free"),
        (1147, 0, "t0 free done"),
    ]


# ---- threads that are never let


def interrupted(every: str) -> Study:
    """A thread of 100 operations on CPU 0, where interrupts that take 10 us each come that often."""
    page = {"gfp": "GFP_ATOMIC", "order": 0}
    irq = source("irq", arrivals={"constant": every}, lifetime="immediate", requests=[page])
    slow = prices(alloc_fast="10us", free_fast="10us")
    return cheap({"cpus": [0], "operations": 100}, interrupts=[irq], costs=slow, run={"sample_every": "5ms"})


def test_interrupts_that_take_all_of_a_cpu_are_found_out_and_end_the_run() -> None:
    simulation = finished(interrupted("10us"))
    assert simulation.stuck.startswith("livelock: for 100ms no thread has finished an operation")
    assert LIVELOCK_PS <= now_ps(simulation.env) <= LIVELOCK_PS + 5 * MS  # the sampler looks, and then ends
    assert simulation.core.tasks[0].nr_done < 100


def test_interrupts_that_leave_some_time_are_no_livelock() -> None:
    simulation = finished(interrupted("25us"))
    assert simulation.stuck == ""
    assert simulation.core.tasks[0].nr_done == 100


def test_a_thread_that_sleeps_long_is_no_livelock() -> None:
    simulation = finished(cheap(ONE | {"cpus": [0], "think": "1s"}, run={"sample_every": "10ms"}))
    assert simulation.stuck == ""
    assert simulation.core.tasks[0].nr_done == 1


def test_the_clock_has_an_end() -> None:
    simulation = finished(cheap(ONE | {"cpus": [0], "think": "86400s"}, run={"sample_every": "3600s"}))
    assert simulation.stuck == "the simulated clock ends at 18,014 s"
    assert simulation.core.tasks[0].nr_done == 0
