"""Who runs on a CPU: threads in turn, interrupts first, and threads that move.

The prices are in `tests.sim.stories`; entering an irq costs 500 ns here, a softirq 300 ns.
"""

from typing import Any

import pytest

from tests.sim.stories import ONE, PAIR, cheap, finished, prices, source, told

ENTRIES = prices(interrupt="500ns", softirq="300ns")


def at(delay: str, kind: str = "irq", **others: Any) -> dict[str, Any]:
    """One interrupt on CPU 0, `delay` after the start."""
    return source(kind, arrivals={"constant": delay}, operations=1, **others)


# ---- threads


def test_threads_of_one_cpu_run_for_a_time_slice_each_and_pay_for_the_switch() -> None:
    thread = {"cpus": [0], "operations": 3, "live": 3, "requests": [{"order": 4}]}
    costs = prices(alloc_fast="480ns", context_switch="200ns")  # an allocation takes 500 ns
    assert told(cheap(thread, thread, costs=costs, timeslice="1us")) == [
        (0, 0, "t0 alloc"),
        (500, 0, "t0 alloc done"),
        (500, 0, "t0 alloc"),
        (1000, 0, "t0 alloc done"),  # its slice is over
        (1200, 0, "t1 alloc"),
        (1700, 0, "t1 alloc done"),
        (1700, 0, "t1 alloc"),
        (2200, 0, "t1 alloc done"),  # its slice was over at 2000, but it was within an operation
        (2400, 0, "t0 alloc"),
        (2900, 0, "t0 alloc done"),  # it has nothing more to do
        (3100, 0, "t1 alloc"),
        (3600, 0, "t1 alloc done"),
    ]


def test_a_thread_alone_on_its_cpu_pays_for_no_switch_when_its_slice_is_over() -> None:
    simulation = finished(cheap(PAIR | {"operations": 100}, costs=prices(context_switch="200ns"), timeslice="1us"))
    assert simulation.core.cpus["switch_ps"].tolist() == [0, 0]


def test_a_thread_runs_while_another_of_its_cpu_sleeps() -> None:
    sleeper = ONE | {"name": "sleeper", "cpus": [0], "think": "100ns"}
    assert told(cheap(sleeper, PAIR | {"cpus": [0]}, costs=prices(context_switch="200ns"))) == [
        (0, 0, "t1 alloc"),
        (76, 0, "t1 alloc done"),
        (76, 0, "t1 free"),
        (147, 0, "t1 free done"),
        (347, 0, "sleeper alloc"),  # wanted at 100: a thread preempts no other
        (423, 0, "sleeper alloc done"),
    ]


# ---- interrupts


def test_an_irq_in_a_stage_delays_its_end_by_as_long_as_it_takes() -> None:
    assert told(cheap(PAIR | {"cpus": [0]}, interrupts=[at("30ns")], costs=ENTRIES)) == [
        (0, 0, "t0 alloc"),
        (530, 0, "irq alloc"),
        (606, 0, "irq alloc done"),
        (76 + 576, 0, "t0 alloc done"),
        (652, 0, "t0 free"),
        (723, 0, "t0 free done"),
    ]


def test_a_softirq_in_a_stage_does_so_too_at_its_own_price() -> None:
    assert told(cheap(PAIR | {"cpus": [0]}, interrupts=[at("100ns", "softirq")], costs=ENTRIES)) == [
        (0, 0, "t0 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 free"),
        (400, 0, "softirq alloc"),
        (476, 0, "softirq alloc done"),
        (147 + 376, 0, "t0 free done"),
    ]


def test_a_softirq_is_preempted_by_an_irq() -> None:
    interrupts = [at("350ns"), at("30ns", "softirq")]
    assert told(cheap(PAIR | {"cpus": [0]}, interrupts=interrupts, costs=ENTRIES)) == [
        (0, 0, "t0 alloc"),
        (330, 0, "softirq alloc"),
        (850, 0, "irq alloc"),
        (926, 0, "irq alloc done"),
        (406 + 576, 0, "softirq alloc done"),
        (76 + 376 + 576, 0, "t0 alloc done"),
        (1028, 0, "t0 free"),
        (1099, 0, "t0 free done"),
    ]


def test_an_irq_is_not_preempted_by_a_softirq() -> None:
    interrupts = [at("30ns"), at("40ns", "softirq")]
    assert told(cheap(ONE | {"cpus": [0]}, interrupts=interrupts, costs=ENTRIES)) == [
        (0, 0, "t0 alloc"),
        (530, 0, "irq alloc"),
        (606, 0, "irq alloc done"),
        (906, 0, "softirq alloc"),
        (982, 0, "softirq alloc done"),
        (76 + 576 + 376, 0, "t0 alloc done"),
    ]


def test_an_irq_during_a_hold_is_served_at_the_release() -> None:
    costs = prices(lock_hold="40ns")
    assert told(cheap(PAIR | {"cpus": [0]}, interrupts=[at("80ns")], costs=costs)) == [
        (0, 0, "t0 alloc"),
        (116, 0, "t0 alloc done"),  # holds the lock from 76 on
        (116, 0, "irq alloc"),
        (232, 0, "irq alloc done"),
        (232, 0, "t0 free"),
        (343, 0, "t0 free done"),
    ]


def test_an_irq_on_a_cpu_that_spins_is_served_at_the_release() -> None:
    costs = prices(lock_hold="40ns")
    threads = [ONE | {"cpus": [0]}, PAIR | {"cpus": [1]}]
    assert told(cheap(*threads, interrupts=[at("100ns", cpus=[1])], costs=costs)) == [
        (0, 0, "t0 alloc"),
        (0, 1, "t1 alloc"),
        (116, 0, "t0 alloc done"),
        (116 + 100 + 40, 1, "t1 alloc done"),  # spins from 61 on
        (256, 1, "irq alloc"),
        (372, 1, "irq alloc done"),
        (372, 1, "t1 free"),
        (483, 1, "t1 free done"),
    ]


def test_an_irq_on_another_cpu_changes_nothing() -> None:
    alone = told(cheap(PAIR | {"cpus": [0]}))
    beside = told(cheap(PAIR | {"cpus": [0]}, interrupts=[at("30ns", cpus=[1])], costs=ENTRIES))
    assert [entry for entry in beside if entry[1] == 0] == alone


@pytest.mark.parametrize(
    ("delay", "irq_ns", "nr_acquisitions"),
    [
        ("300ns", 61 + 15, 3 + 1),  # the fifth allocation is taking its page from the list: its lock is held
        ("289ns", 61, 3),  # just before: the irq takes a page from the list, which still has one for the thread
    ],
)
def test_an_interrupt_that_finds_its_cpu_inside_its_list_goes_to_the_zone(
    delay: str, irq_ns: int, nr_acquisitions: int
) -> None:
    irq = at(delay, requests=[{"gfp": "GFP_ATOMIC", "order": 0}])
    config = cheap({"cpus": [0], "operations": 5, "live": 5}, interrupts=[irq])  # the thread refills three times
    log = told(config)
    (began,) = (ns for ns, _, what in log if what == "irq alloc")
    assert (began + irq_ns, 0, "irq alloc done") in log
    assert log[-1] == (289 + irq_ns + 61, 0, "t0 alloc done")
    assert finished(config).core.locks["acquisitions"].sum() == nr_acquisitions


def test_a_list_that_waits_for_its_refill_is_held_too() -> None:
    irq = at("30ns", requests=[{"gfp": "GFP_ATOMIC", "order": 0}])
    config = cheap({"cpus": [0], "operations": 1}, interrupts=[irq])
    assert (106, 0, "irq alloc done") in told(config)
    core = finished(config).core
    assert core.locks["acquisitions"].sum() == 2
    assert not core.m.pcps["locked"].any()


# ---- threads that move


def test_an_unpinned_thread_that_wakes_while_its_cpu_is_busy_moves_to_an_idle_one() -> None:
    mover = ONE | {"name": "mover", "cpus": [0], "pinned": False, "think": "100ns"}
    assert told(cheap(PAIR | {"cpus": [0]}, mover)) == [
        (0, 0, "t0 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 free"),
        (100, 1, "mover alloc"),
        (147, 0, "t0 free done"),
        (176, 1, "mover alloc done"),
    ]


def test_an_unpinned_thread_that_wakes_stays_where_its_cpu_is_idle() -> None:
    mover = ONE | {"name": "mover", "cpus": [1], "pinned": False, "think": "200ns"}
    log = told(cheap(PAIR | {"cpus": [0]}, mover))
    assert log[-2:] == [(200, 1, "mover alloc"), (276, 1, "mover alloc done")]


def test_a_pinned_thread_waits_for_its_own_cpu() -> None:
    stayer = ONE | {"name": "stayer", "cpus": [0], "think": "100ns"}
    assert told(cheap(PAIR | {"cpus": [0]}, stayer))[-2:] == [(147, 0, "stayer alloc"), (223, 0, "stayer alloc done")]


def test_where_all_cpus_are_busy_an_unpinned_thread_waits() -> None:
    mover = ONE | {"name": "mover", "cpus": [0], "pinned": False, "think": "10ns"}
    log = told(cheap(PAIR | {"cpus": [0]}, PAIR | {"cpus": [1]}, mover))
    assert (276, 0, "t0 free done") in log
    assert (276, 0, "mover alloc") in log


def test_a_cpu_that_would_idle_pulls_a_thread_that_waits_for_another() -> None:
    waiting = ONE | {"name": "waiting", "cpus": [0], "pinned": False}
    log = told(cheap(PAIR | {"cpus": [0]}, waiting, ONE | {"cpus": [1]}, costs=prices(context_switch="200ns")))
    assert log == [
        (0, 0, "t0 alloc"),
        (0, 1, "t2 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 free"),
        (176, 1, "t2 alloc done"),
        (276, 0, "t0 free done"),
        (376, 1, "waiting alloc"),  # pulled at 176
        (452, 1, "waiting alloc done"),
    ]


def test_a_cpu_that_would_idle_pulls_no_pinned_thread() -> None:
    waiting = ONE | {"name": "waiting", "cpus": [0]}
    rover = ONE | {"name": "rover", "cpus": [1], "pinned": False, "start": "5us"}  # without one, nobody pulls at all
    log = told(cheap(PAIR | {"cpus": [0]}, waiting, ONE | {"cpus": [1]}, rover, costs=prices(context_switch="200ns")))
    assert (476, 0, "waiting alloc") in log
