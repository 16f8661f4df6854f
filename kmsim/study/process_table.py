"""The processes that a config names, at the end of a run: what /proc/PID shows of each, and whom the OOM killer chose.

    process         its name
    pid             its number; they are started in the order of the config
    oom_score_adj   as the config says
    rss_pages       its pages in memory
    swap_pages      and in swap
    points          the kernel's badness: the process with the most is killed first; one that is not to be killed: none
    killed          1: it was killed as the first of all, 2: as the second ...; 0: it was not

Counted from the start of the run on. The process of `anonymous`, which has no name of its own, is the first, where
there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kmsim.metrics.columns import INT, REAL, TEXT, Columns, Table, made_of
from kmsim.mm.may_oom import totalpages_of
from kmsim.mm.mmzone import Machine
from kmsim.mm.oom import NOT_TO_BE_KILLED, oom_badness

PROCESSES = "processes"
PROCESS_COLUMNS: Columns = {
    "process": TEXT,
    **dict.fromkeys(("pid", "oom_score_adj", "rss_pages", "swap_pages"), INT),
    "points": REAL,
    "killed": INT,
}


def process_table(m: Machine, names: Sequence[str]) -> Table:
    """The table."""
    processes = m.lru.processes
    assert len(names) == len(processes), "a process without a name"
    total = totalpages_of(m)
    points = [oom_badness(processes, p, total) for p in range(len(processes))]
    columns = (
        list(names),
        processes["pid"],
        processes["oom_score_adj"],
        processes["anon_rss"] + processes["file_rss"],
        processes["swapents"],
        [np.nan if of == NOT_TO_BE_KILLED else float(of) for of in points],
        processes["killed"],
    )
    return made_of(PROCESS_COLUMNS, columns)
