"""Who is killed when memory has run out, by the task table of a report (kernel: oom_badness, select_bad_process).

A task's points are its pages in RAM and in swap and those of its page tables, and of each thousandth of
`oom_score_adj` a thousandth of all RAM and swap; in a memory cgroup, of its limit. Who has most is killed, of equal
ones the later. -1000 is never killed. Up to 4.16 a task with CAP_SYS_ADMIN had 3 % taken off, which no table shows. Up
to 4.14 the table counts page tables, not bytes; up to 3.x it has neither them nor swap. Up to 2.6.35 the points were
others: no order is said.
"""

from typing import NamedTuple

from kmsim.mm.oom import OOM_SCORE_ADJ_MIN, badness_points
from kmsim.procfs.mem_report import MemReport
from kmsim.procfs.oom_report import Task
from kmsim.study.report_rules import Release

USUAL_PAGE = 4096  # bytes; assumed where a report of a memory cgroup has no list of blocks, which would say it


class Scored(NamedTuple):
    """A task and its points; below 0 where its adjustment takes off more than it has."""

    task: Task
    points: int


def scored(report: MemReport, release: Release) -> list[Scored]:
    """The tasks that could be killed, the first of them first; none where the report does not say enough for points."""
    if unscored(report):
        return []
    total = _total(report) or 0  # none is needed where no task has an adjustment
    found = []
    for place, task in enumerate(report.tasks):
        if task.score_adj != OOM_SCORE_ADJ_MIN:
            tables = task.pgtables or 0
            if release >= (4, 15):
                tables //= report.page_size or USUAL_PAGE
            points = badness_points(task.rss + (task.swap or 0) + tables, task.score_adj or 0, total)
            found.append((points, place, Scored(task, points)))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def unscored(report: MemReport) -> str:
    """What a report of an OOM kill lacks, so that no points can be said; empty: nothing."""
    if not report.tasks:
        return "the table of tasks"
    if any(task.score_adj is None for task in report.tasks):
        return "oom_score_adj of the tasks, which this kernel does not print"
    if _total(report) is None and any(task.score_adj not in (0, OOM_SCORE_ADJ_MIN) for task in report.tasks):
        what = "the group's limit" if report.cgroup is not None else "how large RAM is (a line 'pages RAM')"
        return f"{what}, by which oom_score_adj is scaled"
    return ""


def why_killed(report: MemReport, ranks: list[Scored]) -> str:
    """Why the victim was chosen, in words; empty where nobody was killed."""
    if report.killed is None:
        return ""
    pid, name = report.killed
    chosen = report.kill.chosen or report.killed
    said = ""
    if report.kill.allocating:
        return "who asked for the memory is killed (vm.oom_kill_allocating_task)"
    if chosen[0] != pid:
        said = f"{chosen[1]}, pid {chosen[0]}, was chosen; {name}, pid {pid}, "
        said += "was killed for it, a child or the whole process. "
    if not ranks:
        return f"{said}why that one: not known, without {unscored(report) or 'a task that may be killed'}"
    place = next((n for n, one in enumerate(ranks) if one.task.pid == chosen[0]), None)
    nr_tasks = f"{len(ranks):,} tasks that may be killed"
    if place == 0:
        reason = f"{chosen[1]} has most points of {nr_tasks}"
    elif place is not None:
        first = ranks[0].task
        reason = f"{first.comm}, pid {first.pid}, has more points: {place} of {nr_tasks} have more than {chosen[1]}"
    elif any(task.pid == chosen[0] for task in report.tasks):
        reason = f"{chosen[1]} has oom_score_adj -1000, which protects it: the table does not say why it was chosen"
    else:
        reason = f"pid {chosen[0]} is not in the table, so its points are not known"
    return f"{said}{reason}"


def _total(report: MemReport) -> int | None:
    """What points are scaled by, in pages."""
    if report.cgroup is None:
        return report.total_pages
    limit = report.cgroup.limit_kb
    return None if limit is None else (limit << 10) // (report.page_size or USUAL_PAGE)
