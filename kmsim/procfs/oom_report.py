"""What a report of an OOM kill says beside the zones: the tasks, who was chosen and killed, the memory cgroup.

The table's columns changed with the kernel, and its head names them. Up to 2.6.35 it has no `oom_score_adj`; up to 3.x
neither swap nor page tables. Leaves out what the kernel lists of unreclaimable slabs.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_HEAD = re.compile(r"\[\s*pid\s*\]((?:\s+\w+)+)\s*$")
_TASK = re.compile(r"\[\s*(\d{1,10})\]((?:\s+-?\d{1,18})+)\s+(\S.*)$")
# The columns of a table whose head was cut off, by their number.
_COLUMNS = {
    7: ("uid", "tgid", "total_vm", "rss", "pgtables_bytes", "swapents", "oom_score_adj"),
    8: ("uid", "tgid", "total_vm", "rss", "nr_ptes", "nr_pmds", "swapents", "oom_score_adj"),
    10: (
        *("uid", "tgid", "total_vm", "rss", "rss_anon", "rss_file", "rss_shmem"),
        *("pgtables_bytes", "swapents", "oom_score_adj"),
    ),
}
_NAME = r"(?:, UID \d{1,10},?)?,? \((.{1,32}?)\)(?=[ ,.]|$)"
_KILLED = re.compile(rf"\bKilled process (\d{{1,10}}){_NAME}")
_CHOSEN = re.compile(rf"\bKill process (\d{{1,10}}){_NAME}")
_ALLOCATING = re.compile(r"\(oom_kill_allocating_task\)")
CGROUP = re.compile(
    r"\bMemory cgroup out of memory\b|\bTask in (\S+) killed as a result of limit of (\S+)|"
    r"\boom-kill:constraint=CONSTRAINT_MEMCG\b|\bMemory cgroup stats for (\S+?):|"
    r"\bmemory: usage \d+kB, limit \d+kB|\bmem_cgroup_o(?:ut_of_memory|om_synchronize)\+0x"
)
# A kill that stands without the report before it.
KILL_OF_CGROUP = re.compile(r"\boom-kill:constraint=CONSTRAINT_MEMCG\b|\bMemory cgroup out of memory: Kill")
KILL_DONE = re.compile(r"\bKilled process \d")
_USAGE = re.compile(r"\bmemory: usage (\d{1,16})kB, limit (\d{1,16})kB")
_OOM_MEMCG = re.compile(r"\boom_memcg=([^,\s]+)")
_TOTALS = (
    re.compile(r"\b(\d{1,15}) pages RAM\b"),
    re.compile(r"\b(\d{1,15}) pages reserved\b"),
    re.compile(r"\bTotal swap = (\d{1,15})kB"),
)


class Task(NamedTuple):
    """A line of an OOM report's task table; memory in pages. None: this kernel does not print it."""

    pid: int
    comm: str
    rss: int
    swap: int | None
    pgtables: int | None  # bytes; up to 4.14, page tables
    score_adj: int | None


class Cgroup(NamedTuple):
    """The memory cgroup that was at its limit, in kB; None: not printed."""

    name: str
    usage_kb: int | None
    limit_kb: int | None


class Kill(NamedTuple):
    """Who was killed, and who was chosen, each with pid and name; None: the report does not say it."""

    killed: tuple[int, str] | None
    chosen: tuple[int, str] | None  # kernels that may kill a child in its place print both
    allocating: bool  # sysctl vm.oom_kill_allocating_task: who asked is killed


def tasks_of(lines: Iterable[str]) -> Iterator[Task]:
    """The task table, its columns by the names of its head."""
    columns: tuple[str, ...] | None = None
    for line in lines:
        head = _HEAD.search(line)
        if head is not None:
            columns = tuple(head[1].split()[:-1])  # the last is the name
            continue
        found = _TASK.search(line)
        if found is None:
            continue
        numbers = found[2].split()
        of_task = columns or _COLUMNS.get(len(numbers), ())
        if not of_task or len(numbers) < len(of_task) or "rss" not in of_task:
            continue
        values = dict(zip(of_task, map(int, numbers), strict=False))
        name = " ".join([*numbers[len(of_task) :], found[3].strip()])
        tables = [values[one] for one in ("pgtables_bytes", "nr_ptes", "nr_pmds") if one in values]
        yield Task(
            int(found[1]), name, values["rss"], values.get("swapents"),
            sum(tables) if tables else None, values.get("oom_score_adj"),
        )  # fmt: skip


def total_pages(lines: list[str], page_kb: int) -> int | None:
    """RAM that is not reserved, and swap; None where the report does not say it."""
    ram, reserved, swap = (next((found for found in map(one.search, lines) if found), None) for one in _TOTALS)
    if ram is None or reserved is None or not page_kb:
        return None
    return int(ram[1]) - int(reserved[1]) + (int(swap[1]) // page_kb if swap else 0)


def kill_of(lines: list[str]) -> Kill:
    """Who was chosen and who was killed."""
    killed, chosen = (next((found for found in map(one.search, lines) if found), None) for one in (_KILLED, _CHOSEN))
    return Kill(
        None if killed is None else (int(killed[1]), killed[2]),
        None if chosen is None else (int(chosen[1]), chosen[2]),
        any(_ALLOCATING.search(line) for line in lines),
    )


def cgroup_of(lines: list[str]) -> Cgroup | None:
    """The group at its limit, where the report is of one."""
    said = [found for found in map(CGROUP.search, lines) if found]
    if not said:
        return None
    names = [found[2] for found in said if found[2]] + [found[1] for found in map(_OOM_MEMCG.search, lines) if found]
    names += [found[3] for found in said if found[3]]
    usage = next((found for found in map(_USAGE.search, lines) if found), None)
    limits = (None, None) if usage is None else (int(usage[1]), int(usage[2]))
    return Cgroup(names[0] if names else "", *limits)
