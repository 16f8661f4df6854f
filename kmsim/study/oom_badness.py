"""Who is killed when memory has run out, by the task table of a report (kernel: oom_badness, select_bad_process).

A task's points are its pages in RAM and in swap and those of its page tables, and of each thousandth of `oom_score_adj`
a thousandth of all RAM and swap; who has most is killed, of equal ones the later. -1000 is never killed. Up to 4.16 a
task with CAP_SYS_ADMIN had 3 % taken off, which no table shows. Up to 4.14 the table counts page tables, not bytes.
"""

from typing import NamedTuple

from kmsim.procfs.mem_report import MemReport, Task
from kmsim.study.report_rules import Release

NEVER = -1000


class Scored(NamedTuple):
    """A task and its points; below 0 where its adjustment takes off more than it has."""

    task: Task
    points: int


def scored(report: MemReport, release: Release) -> list[Scored]:
    """The tasks that could be killed, the first of them first; none where the report does not say how large RAM is."""
    total = report.total_pages
    if total is None:
        return []
    found = []
    for place, task in enumerate(report.tasks):
        if task.score_adj != NEVER:
            tables = task.pgtables // report.page_size if release >= (4, 15) else task.pgtables
            points = task.rss + task.swap + tables + task.score_adj * (total // 1000)
            found.append((points, place, Scored(task, points)))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2], reverse=True)]
