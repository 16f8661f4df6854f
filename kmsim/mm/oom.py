"""Out of memory: does the kernel kill a process, and which? (kernel: mm/oom_kill.c, out_of_memory)

Only requests that could do nothing else come here (see `mm.slow_path`). Each process has points: its pages in memory
and in swap, the pages of its page tables, and oom_score_adj, of which 1000 weigh as much as all of memory. The one with
the most is the victim; of two alike, the one that was started later.

The kernel's answers, as `decide` gives them:
    OOM_NOTHING     the killer is switched off: the request goes on as if nobody had been asked
    OOM_WAITS       nobody is killed, but progress is reported, so that the request tries again: a victim has not freed
                    its memory yet, or the request may not call into file systems
    OOM_KILLS       a process is killed
    OOM_PANICS      the machine stops: as vm.panic_on_oom says so, or as there is nobody to be killed

Leaves out memory cgroups, cpusets, processes that share memory, those that want to be killed first (oom_task_origin).
Invariant: a process that is not to be killed never is. Lock order: takes none; one request is here at a time.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record, core, shared, small
from kmsim.mm.gfp import GFP_FS
from kmsim.mm.indices import Gfp, ProcessIdx

OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX = -1000, 1000  # the first: never to be killed
NOT_TO_BE_KILLED = -(1 << 63)  # in place of points (kernel: LONG_MIN)
NO_PROCESS = -1  # of a request: it is a kernel thread's; of a choice: nobody is to be killed
VICTIM_IS_DYING = -2  # in place of a choice: one was killed before, and has not freed its memory yet
OOM_NOTHING, OOM_WAITS, OOM_KILLS, OOM_PANICS = range(4)

# What a process is (kernel: signal_struct, mm_struct).
PROCESS_UNKILLABLE = 1 << 0  # init, or a kernel thread
PROCESS_IN_VFORK = 1 << 1
PROCESS_IS_VICTIM = 1 << 2  # it was killed (kernel: tsk_is_oom_victim)
PROCESS_IS_REAPED = 1 << 3  # its memory was freed (kernel: MMF_OOM_SKIP)
PROCESS_HAS_EXITED = 1 << 4
PROCESS_IS_UNNAMED = 1 << 5  # memory of processes that nobody tells apart; it is killed like any

# A process, with counts of pages.
process_t = np.dtype(
    (
        Record,
        [
            ("pid", np.int64),
            ("oom_score_adj", np.int64),
            ("anon_rss", np.int64),  # kernel: MM_ANONPAGES
            ("file_rss", np.int64),  # kernel: MM_FILEPAGES and MM_SHMEMPAGES
            ("swapents", np.int64),
            ("pgtables", np.int64),
            ("process_flags", np.int64),
            ("recounted", np.int64),  # its pages, when they were counted one by one last
            ("killed", np.int64),  # 1: as the first of all; 0: it was not
        ],
    )
)
# What the killer goes by, and what it did.
oom_t = np.dtype(
    (
        Record,
        [
            ("killer_disabled", np.int64),  # kernel: oom_killer_disabled
            ("panic_on_oom", np.int64),  # vm.panic_on_oom: 1 if no memory policy limits the request; 2 always
            ("kill_allocating_task", np.int64),  # vm.oom_kill_allocating_task
            ("totalpages", np.int64),  # of memory that the request could use, and of swap
            ("is_limited", np.int64),  # by a memory policy, to some nodes
            ("victim", np.int64),  # the process that is killed, or was last, or NO_PROCESS
            ("nr_kills", np.int64),
            ("panicked", np.int64),
            ("alone", np.int64),  # nothing else runs: who would wait for others fails
            ("reaper", np.int64),  # the context that frees the victim's memory + 1, or 0
        ],
    )
)
Processes = NDArray[np.void]  # of process_t, in the order in which they were started
Oom = NDArray[np.void]  # of oom_t, one


@shared
def process_rss(processes: Processes, p: ProcessIdx) -> int:
    """A process's pages in memory (kernel: get_mm_rss)."""
    return int(processes[p].anon_rss + processes[p].file_rss)


@shared
def process_is(processes: Processes, p: ProcessIdx, flags: int) -> bool:
    """Is a process any of these? PROCESS_..."""
    return int(processes[p].process_flags) & flags != 0


@small
def is_dying(processes: Processes, p: ProcessIdx) -> bool:
    """Was a process killed, and has not freed its memory yet? (kernel: task_will_free_mem)"""
    return int(processes[p].process_flags) & (PROCESS_IS_VICTIM | PROCESS_IS_REAPED) == PROCESS_IS_VICTIM


@shared
def badness_points(pages: int, oom_score_adj: int, totalpages: int) -> int:
    """A process's points by its pages; each unit of oom_score_adj weighs `totalpages // 1000` pages."""
    return pages + oom_score_adj * (totalpages // OOM_SCORE_ADJ_MAX)


@shared
def oom_badness(processes: Processes, p: ProcessIdx, totalpages: int) -> int:
    """A process's points, which may be below 0; NOT_TO_BE_KILLED (kernel: oom_badness)."""
    if process_is(processes, p, PROCESS_UNKILLABLE | PROCESS_HAS_EXITED | PROCESS_IS_REAPED | PROCESS_IN_VFORK):
        return NOT_TO_BE_KILLED
    process = processes[p]
    adj = int(process.oom_score_adj)
    if adj == OOM_SCORE_ADJ_MIN:
        return NOT_TO_BE_KILLED
    pages = process_rss(processes, p) + int(process.swapents) + int(process.pgtables)
    return badness_points(pages, adj, totalpages)


@core
def select_bad_process(processes: Processes, totalpages: int) -> ProcessIdx:
    """Whom to kill: a process, NO_PROCESS, or VICTIM_IS_DYING (kernel: select_bad_process)."""
    chosen = NO_PROCESS
    most = NOT_TO_BE_KILLED
    for p in range(len(processes)):
        if process_is(processes, p, PROCESS_UNKILLABLE | PROCESS_HAS_EXITED):
            continue
        if is_dying(processes, p):
            return VICTIM_IS_DYING
        points = oom_badness(processes, p, totalpages)
        if points != NOT_TO_BE_KILLED and points >= most:
            chosen = p
            most = points
    return chosen


@core
def decide(oom: Oom, processes: Processes, gfp: Gfp, current: ProcessIdx) -> int:
    """What is done for a request of a process, or of a kernel thread: OOM_... (kernel: out_of_memory).

    `victim` is the process that is to be killed, where one is.
    """
    control = oom[0]
    if control.killer_disabled:
        return OOM_NOTHING
    if current != NO_PROCESS and is_dying(processes, current):
        return OOM_WAITS
    if gfp & GFP_FS == 0:
        return OOM_WAITS
    if control.panic_on_oom == 2 or (control.panic_on_oom == 1 and not control.is_limited):
        return OOM_PANICS
    totalpages = int(control.totalpages)
    if control.kill_allocating_task and current != NO_PROCESS and may_kill_itself(processes, current):
        control.victim = current
        return OOM_KILLS
    chosen = select_bad_process(processes, totalpages)
    if chosen == VICTIM_IS_DYING:
        return OOM_WAITS
    if chosen == NO_PROCESS:
        return OOM_PANICS
    control.victim = chosen
    return OOM_KILLS


@small
def may_kill_itself(processes: Processes, p: ProcessIdx) -> bool:
    """May the process whose request it is be killed for it, however little memory it has?"""
    if process_is(processes, p, PROCESS_UNKILLABLE | PROCESS_HAS_EXITED):
        return False
    return bool(processes[p].oom_score_adj != OOM_SCORE_ADJ_MIN)


@core
def kill(oom: Oom, processes: Processes) -> None:
    """Kill the victim; it still has its memory (kernel: __oom_kill_process)."""
    process = processes[oom[0].victim]
    process.process_flags = int(process.process_flags) | PROCESS_IS_VICTIM
    oom[0].nr_kills += 1
    process.killed = oom[0].nr_kills


@small
def made_progress(answer: int) -> bool:
    """Is the request to try again? (kernel: did_some_progress)"""
    return answer in (OOM_WAITS, OOM_KILLS)


def new_oom(totalpages: int) -> Oom:
    """The killer of a machine with so many pages of memory and swap, by the kernel's defaults."""
    oom = np.zeros(1, oom_t)
    oom["totalpages"] = totalpages
    oom["victim"] = NO_PROCESS
    return oom


def has_named(processes: Processes) -> bool:
    """Are there processes that somebody tells apart?"""
    return bool((processes["process_flags"] & PROCESS_IS_UNNAMED == 0).any())


def new_processes(rows: list[tuple[int, int, int]]) -> Processes:
    """Processes by pid, oom_score_adj and pages of anonymous memory; they have nothing else."""
    processes = np.zeros(len(rows), process_t)
    for process, (pid, oom_score_adj, anon_rss) in zip(processes, rows, strict=True):
        process["pid"], process["oom_score_adj"], process["anon_rss"] = pid, oom_score_adj, anon_rss
    return processes
