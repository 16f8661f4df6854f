"""Why did an allocation fail, by the report that the kernel wrote, and what would have succeeded in the same memory?

The request is held against each zone that it could take from, by the rules of the report's release
(`study.report_rules`). The same is then asked of other requests: a lower order, single pages as vmalloc takes them,
other flags, marks without their boost. What only reclaim, compaction or an OOM kill could give is said to be so.

Where nothing failed (a Mem-Info by sysrq-m), a page for GFP_KERNEL stands for the request, and the others say how large
a block each kind of request would get.

A report is written after the failure, and its numbers are read one after the other: a zone that would serve the request
as printed is said to. Leaves out cpusets, policies of memory, and real-time tasks. Invariant: where the report does not
say enough for a verdict, the verdict is None and `unknown` says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER
from kmsim.mm.vmstat import fragmentation_index
from kmsim.procfs.mem_report import ZONES, MemReport, ZoneReport
from kmsim.study.oom_badness import Scored, scored, why_killed
from kmsim.study.report_rules import (
    NAMED_SINCE,
    Asking,
    Held,
    Release,
    asking,
    flags_of,
    held,
    release_by,
    release_of,
)
from kmsim.study.report_trace import Traced, traced

MODELLED = (6, 12)  # the release whose rules are taken where a report names none, and its mode has names
NO_TASK = ("a softirq", "an interrupt")  # contexts that have no cpuset


class ZoneVerdict(NamedTuple):
    """What a zone said to the request."""

    zone: ZoneReport
    held: Held
    passes: bool | None
    why: str


class Other(NamedTuple):
    """Another request in the same memory: would it have been served?"""

    what: str
    served: bool | None
    where: str  # the zone that serves it, or how much is missing where the least is


class Explanation(NamedTuple):
    """A report explained."""

    report: MemReport
    release: Release
    asked: Asking
    zones: tuple[ZoneVerdict, ...]
    out_of_reach: tuple[str, ...]  # zones that the request may not take from
    fails: bool | None
    cause: str
    tried: tuple[str, ...]
    others: tuple[Other, ...]
    unknown: tuple[str, ...]
    traced: Traced
    ranks: tuple[Scored, ...]  # the tasks that an OOM kill could choose, the first of them first
    why_killed: str


def explain(report: MemReport) -> Explanation:
    """Explain a report; what it does not hold stands in `unknown`."""
    unknown = []
    release = release_of(report)
    if release is None:
        by_mode = release_by(report.request)
        release = by_mode or MODELLED
        why = ", as the mode has no names" if by_mode else ""
        unknown.append(f"the kernel's release: the rules of {release[0]}.{release[1]} are taken{why}")
    elif not report.request.names and release >= NAMED_SINCE:
        unknown.append(f"the names of its GFP flags, which Linux {release[0]}.{release[1]} prints: its bits are read")
    by = asking(flags_of(report.request, release), release)
    context = traced(report.trace)
    if context.context in NO_TASK:
        by = by._replace(in_cpuset=False)
    if not report.zones:
        unknown.append("the zones" if not report.has_zone_lines else "the size of a page (no list of free blocks)")
    ranks = scored(report, release)
    order = report.request.order
    verdicts = _verdicts(report, order, by, release)
    reached = [verdict.zone for verdict in verdicts]
    fails = _fails([verdict.passes for verdict in verdicts], by)
    unknown += [f"{_name(v.zone)}: {_missing(v)}" for v in verdicts if v.passes is None]
    return Explanation(
        report,
        release,
        by,
        verdicts,
        tuple(_name(zone) for zone in report.zones if zone not in reached),
        fails,
        _cause(verdicts, order) if report.request.has_failed or fails else "",
        tuple(_tried(by, order)) if report.request.has_failed else (),
        tuple(_asked_of(report, by, release)) if report.zones else (),
        tuple(unknown),
        context,
        tuple(ranks),
        why_killed(report, ranks),
    )


def _fails(passes: list[bool | None], by: Asking) -> bool | None:
    if not passes:
        return None
    if by.no_marks:
        return None
    if True in passes:
        return False
    return None if None in passes else True


def _within_reach(zone: ZoneReport, report: MemReport, by: Asking) -> bool:
    nodes = report.request.nodemask or (report.request.mems_allowed if by.in_cpuset else "")
    return ZONES.index(zone.name) <= ZONES.index(_highest(report, by)) and (not nodes or zone.node in _nodes(nodes))


def _highest(report: MemReport, by: Asking) -> str:
    """The highest zone of the request; a kernel built without ZONE_DMA takes the next above it for GFP_DMA."""
    names = [zone.name for zone in report.zones]
    if by.zone in ("DMA", "DMA32") and names and not any(ZONES.index(name) <= ZONES.index(by.zone) for name in names):
        return min(names, key=ZONES.index)
    return by.zone


def _nodes(words: str) -> set[int]:
    """The nodes of a list such as 0-1,3."""
    found: set[int] = set()
    for part in words.split(","):
        first, _, last = part.partition("-")
        if (
            first.isdigit()
            and (not last or last.isdigit())
            and len(first) + len(last) < 16
            and int(last or first) <= 1 << 16
        ):
            found.update(range(int(first), int(last or first) + 1))
    return found


def _name(zone: ZoneReport) -> str:
    return f"node {zone.node}, zone {zone.name}"


def reserve_of(zone: ZoneReport, zones: tuple[ZoneReport, ...], highest: str) -> int | None:
    """The pages that a zone keeps for requests that could not go to a higher one (kernel: lowmem_reserve).

    A report prints the row without the names of its columns. A row is 0 up to its own zone and then grows with each
    populated zone above it, so the first that is not 0 is the column of the next populated zone. None: the report has
    no row, where there is a zone above that asks for it.
    """
    row = zone.lowmem_reserve
    above = [z for z in zones if z.node == zone.node and ZONES.index(z.name) > ZONES.index(zone.name)]
    reachable = [z for z in above if ZONES.index(z.name) <= ZONES.index(highest)]
    if reachable and not row:
        return None
    if not reachable or not any(row):
        return 0
    steps = list(dict.fromkeys(value for value in row if value))  # one for each populated zone above, ascending
    return steps[min(len(reachable), len(steps)) - 1]


def _verdicts(
    report: MemReport, order: int, by: Asking, release: Release, *, boosted: bool = True
) -> tuple[ZoneVerdict, ...]:
    """What each zone says that the request may take from."""
    verdicts = []
    for zone in report.zones:
        if _within_reach(zone, report, by):
            found = held(
                zone, reserve_of(zone, report.zones, _highest(report, by)), order, by, release, boosted=boosted
            )
            why = _why(zone, found, order)
            if not why:
                why = "it serves the request"
                if report.request.has_failed:
                    why = f"as printed, {why}: the report was written after the failure"
            verdicts.append(ZoneVerdict(zone, found, found.passes, why))
    return tuple(verdicts)


def _why(zone: ZoneReport, found: Held, order: int) -> str:
    """Why a zone refuses, or may refuse; nothing where it serves the request."""
    if found.most_usable <= found.needed:
        return f"{found.missing:,} pages too few"
    if found.below_at is not None:
        return f"too little is left without the blocks below order {found.below_at + 1}"
    if found.has_block is False:
        held_by = sorted({letter for block in zone.blocks[order:] for letter in block.types})
        others = f": those of type {', '.join(held_by)} are not for it" if held_by else ""
        return f"above the mark, but without a free block of order {order} or more{others}"
    if found.has_block is None:
        return "above the mark; whether a block is of a type that it may take is not printed"
    if found.passes is None:
        if not found.reserve_known:
            return f"{1 - found.missing:,} pages above its mark; its lowmem reserve is not printed"
        return f"{found.missing:,} pages too few, or enough, by how much of the highatomic reserve is free"
    return ""


def _missing(verdict: ZoneVerdict) -> str:
    if verdict.held.has_block is None:
        return "the types of its free blocks"
    if not verdict.held.reserve_known:
        return "its lowmem reserve (no line lowmem_reserve[])"
    return f"how many of its up to {verdict.held.highatomic:,} highatomic pages are free"


def _cause(verdicts: tuple[ZoneVerdict, ...], order: int) -> str:
    """Too little memory, or memory in too small pieces? (kernel: fragmentation_index)"""
    if not verdicts:
        return "the report does not hold the zones that the request may take from"
    if order == 0:
        if any(v.held.most_usable > v.held.needed and v.held.has_block is False for v in verdicts):
            return "no free page of a type that the request may take"
        return "lack of memory: a single page needs no larger block"
    if all(v.held.most_usable <= v.held.needed for v in verdicts):
        short = max(verdicts, key=lambda v: v.zone.free)
        has = any(block.number for block in short.zone.blocks[order:])
        there = f"{'has a' if has else 'has no'} block of order {order} or more"
        return f"lack of memory: no zone is above its mark (the one with most free pages {there})"
    parts = []
    for verdict in verdicts:
        counts = [block.number for block in verdict.zone.blocks]
        if verdict.held.most_usable > verdict.held.needed and counts:
            index = fragmentation_index(counts, order)
            parts.append(f"{_name(verdict.zone)} {'has a block' if index < 0 else f'{index / 1000:.3f}'}")
    return f"fragmentation (0: lack of memory, 1: pieces too small): {'; '.join(parts)}"


def _tried(by: Asking, order: int) -> list[str]:
    """What the kernel does before it gives up, by the flags and the order."""
    costly = order > PAGE_ALLOC_COSTLY_ORDER
    if not by.may_reclaim:
        return ["to wake kswapd and to take from each zone down to its reserve, and nothing more, as it may not wait"]
    said = ["reclaim and compaction by the caller itself"] if order else ["reclaim by the caller itself"]
    if "__GFP_NORETRY" in by.flags:
        said.append("once only (__GFP_NORETRY)")
    elif "__GFP_RETRY_MAYFAIL" in by.flags:
        said.append("again and again while that makes progress, without an OOM kill (__GFP_RETRY_MAYFAIL)")
    elif "__GFP_NOFAIL" in by.flags:
        said.append("for ever (__GFP_NOFAIL)")
    elif costly:
        said.append(f"without an OOM kill, as order {order} is above {PAGE_ALLOC_COSTLY_ORDER}")
    else:
        said.append("then an OOM kill")
    return said


def _asked_of(report: MemReport, by: Asking, release: Release) -> Iterator[Other]:
    """What else is asked of the zones: where nothing failed, how large a block they would give."""
    if report.request.has_failed:
        yield from _others(report, by, release)
        return
    atomic = asking(by.flags - {"__GFP_DIRECT_RECLAIM"} | {"__GFP_HIGH", "__GFP_ATOMIC"}, release)
    orders = range(max(len(zone.blocks) for zone in report.zones) - 1, -1, -1)
    for name, flags in (("GFP_KERNEL, before it reclaims", by), ("GFP_ATOMIC, from the reserves", atomic)):
        served = ((order, *_served(report, order, flags, release)) for order in orders)
        order, may, where = next((one for one in served if one[1]), (0, *_served(report, 0, flags, release)))
        yield Other(f"{name}: order {order}" + ", the largest" * bool(may), may, where)


def _others(report: MemReport, by: Asking, release: Release) -> list[Other]:
    """Other requests, asked of the same zones."""
    order = report.request.order
    found = []
    if order:
        lower = next((o for o in range(order - 1, -1, -1) if _served(report, o, by, release)[0]), None)
        if lower is None:
            found.append(Other(f"any order below {order}", *_unserved(report, order, by, release)))
        else:
            found.append(Other(f"order {lower}", True, _served(report, lower, by, release)[1]))
        if by.may_reclaim:
            found.append(Other("kvmalloc, by single pages of vmalloc", *_served(report, 0, by, release)))
    if not by.may_reclaim:
        waiting = asking(
            by.flags | {"__GFP_DIRECT_RECLAIM", "__GFP_IO", "__GFP_FS"} - {"__GFP_HIGH", "__GFP_ATOMIC"}, release
        )
        found.append(Other("GFP_KERNEL, before it reclaims", *_served(report, order, waiting, release)))
    else:
        atomic = asking(by.flags - {"__GFP_DIRECT_RECLAIM"} | {"__GFP_HIGH", "__GFP_ATOMIC"}, release)
        found.append(Other("GFP_ATOMIC, from the reserves", *_served(report, order, atomic, release)))
    if any(zone.boost for zone in report.zones):
        found.append(Other("marks without their boost", *_served(report, order, by, release, boosted=False)))
    return found


def _unserved(report: MemReport, order: int, by: Asking, release: Release) -> tuple[bool | None, str]:
    """What is said where no lower order is surely served: no, or that the report does not say it of some order."""
    answers = [_served(report, o, by, release) for o in range(order)]
    return next((answer for answer in answers if answer[0] is None), answers[0])


def _served(
    report: MemReport, order: int, by: Asking, release: Release, *, boosted: bool = True
) -> tuple[bool | None, str]:
    """Does a zone serve the request, and which; else the fewest pages that are missing."""
    verdicts = _verdicts(report, order, by, release, boosted=boosted)
    serves = next((verdict for verdict in verdicts if verdict.passes), None)
    if serves is not None:
        return True, f"{_name(serves.zone)}, {1 - serves.held.missing:,} pages above what is needed"
    if not verdicts:
        return None, "no zone that it may take from is in the report"
    nearest = min(verdicts, key=lambda verdict: (verdict.passes is False, verdict.held.missing))
    return nearest.passes, f"{_name(nearest.zone)}: {nearest.why}"


def _pid_and_name(task: tuple[int, str] | None) -> dict[str, Any] | None:
    return None if task is None else {"pid": task[0], "command": task[1]}


def facts(found: Explanation) -> dict[str, Any]:
    """The explanation as what JSON can hold."""
    request = found.report.request
    return {
        "line": request.line,
        "command": request.comm,
        "order": request.order,
        "bytes": found.report.page_size << request.order,
        "gfp": sorted(found.asked.flags),
        "release": f"{found.release[0]}.{found.release[1]}",
        "recorded_release": found.report.release,
        "page_size": found.report.page_size,
        "is_oom": request.is_oom,
        "has_failed": request.has_failed,
        "fails": found.fails,
        "cause": found.cause,
        "zones": [
            {
                "node": verdict.zone.node,
                "zone": verdict.zone.name,
                "free": verdict.zone.free,
                "min": verdict.zone.min,
                "low": verdict.zone.low,
                "high": verdict.zone.high,
                "boost": verdict.zone.boost,
                **verdict.held._asdict(),
                "passes": verdict.passes,
                "missing": verdict.held.missing,
                "why": verdict.why,
            }
            for verdict in found.zones
        ],
        "out_of_reach": list(found.out_of_reach),
        "tried": list(found.tried),
        "caller": found.traced.caller,
        "context": found.traced.context,
        "steps_in_trace": list(found.traced.steps),
        "said": request.said,
        "killed": _pid_and_name(found.report.killed),
        "chosen": _pid_and_name(found.report.kill.chosen),
        "why_killed": found.why_killed,
        "points": [{"pid": one.task.pid, "command": one.task.comm, "points": one.points} for one in found.ranks],
        "cgroup": None if found.report.cgroup is None else found.report.cgroup._asdict(),
        "others": [other._asdict() for other in found.others],
        "unknown": list(found.unknown),
    }
