"""Whom the kernel kills, and when it kills nobody; the points by hand."""

import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.oom import (
    NO_PROCESS,
    NOT_TO_BE_KILLED,
    OOM_KILLS,
    OOM_NOTHING,
    OOM_PANICS,
    OOM_WAITS,
    PROCESS_HAS_EXITED,
    PROCESS_IN_VFORK,
    PROCESS_IS_REAPED,
    PROCESS_IS_VICTIM,
    PROCESS_UNKILLABLE,
    VICTIM_IS_DYING,
    Oom,
    Processes,
    decide,
    made_progress,
    new_oom,
    new_processes,
    oom_badness,
    select_bad_process,
)

KERNEL, NOFS = parse_gfp("GFP_KERNEL"), parse_gfp("GFP_NOFS")
TOTAL = 61_443  # not a multiple of 1000: a unit of oom_score_adj weighs 61 pages


@entry
def points_of(processes: Processes, p: int) -> int:
    """A process's points."""
    return oom_badness(processes, p, TOTAL)


@entry
def chosen(processes: Processes) -> int:
    """Who would be killed."""
    return select_bad_process(processes, TOTAL)


@entry
def decision(oom: Oom, processes: Processes, gfp: int, current: int) -> int:
    """What is done for a request."""
    return decide(oom, processes, gfp, current)


@entry
def progress(answer: int) -> bool:
    """Is the request to try again?"""
    return made_progress(answer)


def three() -> Processes:
    """The first has the most memory, the second the most points, the third is never to be killed."""
    return new_processes([(10, -500, 9000), (11, 0, 700), (12, -1000, 20_000)])


def answer(processes: Processes, gfp: int = KERNEL, current: int = NO_PROCESS, **control: int) -> tuple[int, int]:
    """What is done, and to whom."""
    oom: Oom = new_oom(TOTAL)
    for name, value in control.items():
        oom[name] = value
    return decision(oom, processes, gfp, current), int(oom[0].victim)


def test_points_are_pages_in_memory_in_swap_and_of_page_tables_and_the_adjustment() -> None:
    processes = new_processes([(1, 300, 2000)])
    processes[0].file_rss, processes[0].swapents, processes[0].pgtables = 161, 40, 15
    assert points_of(processes, 0) == 2000 + 161 + 40 + 15 + 300 * 61


def test_points_may_be_below_0_and_the_least_bad_is_chosen_all_the_same() -> None:
    processes = new_processes([(1, -999, 10), (2, -500, 10)])
    assert points_of(processes, 1) == 10 - 500 * 61
    assert chosen(processes) == 1


@pytest.mark.parametrize("flag", [PROCESS_UNKILLABLE, PROCESS_IN_VFORK, PROCESS_IS_REAPED, PROCESS_HAS_EXITED])
def test_some_have_no_points(flag: int) -> None:
    processes = three()
    processes[1].process_flags = flag
    assert points_of(processes, 1) == NOT_TO_BE_KILLED
    assert chosen(processes) == 0


def test_of_two_alike_the_later_one_is_killed() -> None:
    assert chosen(new_processes([(1, 0, 500), (2, 0, 500), (3, 0, 499)])) == 1


def test_1000_units_weigh_as_much_as_all_of_memory() -> None:
    assert chosen(new_processes([(1, 0, 61_000), (2, 1000, 1)])) == 1


def test_while_a_victim_has_not_freed_its_memory_no_other_is_killed() -> None:
    processes = three()
    processes[0].process_flags = PROCESS_IS_VICTIM
    assert chosen(processes) == VICTIM_IS_DYING
    assert answer(processes) == (OOM_WAITS, NO_PROCESS)
    processes[0].process_flags |= PROCESS_IS_REAPED
    assert answer(processes) == (OOM_KILLS, 1)


def test_a_victims_own_request_waits() -> None:
    processes = three()
    processes[1].process_flags = PROCESS_IS_VICTIM
    assert answer(processes, current=1, panic_on_oom=2) == (OOM_WAITS, NO_PROCESS)


def test_nobody_is_killed_for_a_request_that_may_not_call_into_file_systems() -> None:
    assert answer(three(), NOFS) == (OOM_WAITS, NO_PROCESS)
    assert answer(three(), NOFS, panic_on_oom=2) == (OOM_WAITS, NO_PROCESS)


def test_with_nobody_to_be_killed_the_machine_stops() -> None:
    assert answer(new_processes([(1, -1000, 500)])) == (OOM_PANICS, NO_PROCESS)
    assert answer(new_processes([])) == (OOM_PANICS, NO_PROCESS)


def test_panic_on_oom_spares_a_request_that_a_memory_policy_limits_unless_it_is_2() -> None:
    assert answer(three(), panic_on_oom=1) == (OOM_PANICS, NO_PROCESS)
    assert answer(three(), panic_on_oom=1, is_limited=1) == (OOM_KILLS, 1)
    assert answer(three(), panic_on_oom=2, is_limited=1) == (OOM_PANICS, NO_PROCESS)


def test_the_process_whose_request_it_is_is_killed_where_that_is_asked_for() -> None:
    assert answer(three(), current=0, kill_allocating_task=1) == (OOM_KILLS, 0)
    assert answer(three(), current=0) == (OOM_KILLS, 1)
    assert answer(three(), current=2, kill_allocating_task=1) == (OOM_KILLS, 1)
    assert answer(three(), current=NO_PROCESS, kill_allocating_task=1) == (OOM_KILLS, 1)


def test_a_killer_that_is_switched_off_does_nothing() -> None:
    assert answer(three(), killer_disabled=1, panic_on_oom=2) == (OOM_NOTHING, NO_PROCESS)


def test_who_is_to_try_again() -> None:
    assert [progress(each) for each in (OOM_NOTHING, OOM_WAITS, OOM_KILLS, OOM_PANICS)] == [
        False,
        True,
        True,
        False,
    ]
