"""Questions to the simulated machine that a report describes: what would have been served in that memory?

The machine is built from the report alone, as `kmsim machine` does it, and each request is made to the model's own
allocator on a copy of its own. Simulated is the newest built-in release that is not newer than the report's, or the
oldest; its rules may differ from those of the report's, so the request that failed is asked first. What reclaim,
compaction or an OOM kill could give is not asked: a request that would enter them gets nothing.

Leaves out machines with more than PAGES_MAX pages on a node, and nodes other than the first that the request may use.
"""

from __future__ import annotations

from typing import NamedTuple

from kmsim.config import ConfigError, loads
from kmsim.config.machine import MachineConfig
from kmsim.config.releases import nearest_built_in
from kmsim.mm.gfp import GFP_FLAGS, gfp_problem, parse_gfp
from kmsim.mm.indices import Gfp, Order
from kmsim.mm.mmzone import BOOT_CPU, NO_PAGE, WMARK_MIN, ZONE_MOVABLE, ZONE_NAMES, Machine
from kmsim.mm.snapshot import copy_machine
from kmsim.mm.zone_setup import Sysctl, set_reserve
from kmsim.procfs.mem_report import Request, ZoneReport
from kmsim.sim.core.ask import NOT_ALLOWED, allocate, pages_missing, zone_of
from kmsim.sim.run.boot import machine_of
from kmsim.study.explain import Explanation
from kmsim.survey.facts import facts_of_report
from kmsim.survey.machine_file import Wishes, found_machine, text_of
from kmsim.survey.texts import SurveyError

SEED = 1
PAGES_MAX = 1 << 25  # 128 GiB of 4 KiB pages: 512 MB of records, and seconds in plain Python
RESERVE_TIMES = 2  # min_free_kbytes, for the question whether more of it helps
VMALLOC_PAGES_MAX = 1 << 13  # single pages that are asked for one by one


class Answer(NamedTuple):
    """What the simulated machine says to one request."""

    what: str
    served: bool
    where: str  # the zone that serves it, or by how much the nearest refuses


class Simulated(NamedTuple):
    """The machine of a report, and its answers; `why_not`: why there is no machine to ask."""

    release: str
    notes: tuple[str, ...]
    answers: tuple[Answer, ...]
    why_not: str = ""


def simulated(explained: Explanation) -> Simulated:
    """Build the machine of an explained report, and ask it."""
    report, flags = explained.report, explained.asked.flags
    if report.cgroup is not None:
        return Simulated("", (), (), "the machine was not short of memory")
    if not any(zone.blocks for zone in report.zones):
        return Simulated("", (), (), "the report has no free lists")
    node = next((verdict.zone.node for verdict in explained.zones if verdict.zone.blocks), None)
    if node is None:
        return Simulated("", (), (), "the report has no free lists of a zone that the request may take from")
    try:
        zones = tuple(as_counted(zone) for zone in report.zones)
        facts = facts_of_report(report._replace(zones=zones))
        if zones != report.zones:
            facts.notes.append("free blocks that the lists have more than the zones count are taken off (assumed)")
        release = nearest_built_in(explained.release)
        found = found_machine(facts, Wishes(node=node, kernel_release=release))
        config = loads(text_of(found)).machine
        if config.memory // config.page_size > PAGES_MAX:
            return Simulated("", (), (), f"it has more than {PAGES_MAX:,} pages")
        m = machine_of(config, SEED)
    except SurveyError as error:
        return Simulated("", (), (), f"{error.must}: {error.found}")
    except ConfigError as error:
        return Simulated("", (), (), str(error.problems[0]))
    return Simulated(config.kernel_release, tuple(found.notes), tuple(_answers(m, config, report.request, flags)))


def as_counted(zone: ZoneReport) -> ZoneReport:
    """The zone with no more free blocks than pages, the smallest taken off: lists are printed after the counts."""
    surplus = sum(block.number << order for order, block in enumerate(zone.blocks)) - zone.free
    blocks = []
    for order, block in enumerate(zone.blocks):
        taken = min(block.number, max(surplus, 0) >> order)
        surplus -= taken << order
        blocks.append(block._replace(number=block.number - taken))
    return zone._replace(blocks=tuple(blocks))


def mask_of(flags: frozenset[str]) -> Gfp:
    """The flags that the simulated release still has."""
    known = sorted(name for name in flags if name in GFP_FLAGS)
    return parse_gfp(" | ".join(known)) if known else 0


def _answers(m: Machine, config: MachineConfig, request: Request, flags: frozenset[str]) -> list[Answer]:
    """The request itself, and what else might have been asked or set; the largest blocks where nothing failed."""
    gfp, order = mask_of(flags), request.order
    kernel, atomic = parse_gfp("GFP_KERNEL"), parse_gfp("GFP_ATOMIC")
    if not request.has_failed:
        return [_largest("GFP_KERNEL", m, kernel), _largest("GFP_ATOMIC", m, atomic)]
    waits = "__GFP_DIRECT_RECLAIM" in flags
    found = [_asked(f"the same request, order {order}", m, gfp, order)]
    if order:
        found.append(_asked(f"order {order - 1}", m, gfp, order - 1))
        if waits:
            found.append(_pages_of_vmalloc(m, gfp, order))
    if waits:
        found.append(_asked("GFP_ATOMIC", m, gfp & ~kernel | atomic, order))
    else:
        found.append(_asked("GFP_KERNEL", m, gfp & ~atomic | kernel, order))
    found.append(_larger_reserve(m, config, gfp, order))
    if m.zones["watermark_boost"].any():
        calm = copy_machine(m)
        calm.zones["watermark_boost"] = 0
        found.append(_asked("without the boost", calm, gfp, order))
    return found


def _asked(what: str, m: Machine, gfp: Gfp, order: Order) -> Answer:
    """One request on a copy of the machine."""
    if gfp_problem(gfp, order) is not None or order > m.params[0].max_page_order:
        return Answer(what, False, "the simulated release refuses such a request")
    copy = copy_machine(m)
    pfn = allocate(copy, BOOT_CPU, gfp, order)
    if pfn != NO_PAGE:
        return Answer(what, True, f"from zone {ZONE_NAMES[copy.zones[zone_of(copy, pfn)].zone_type]}")
    return Answer(what, False, _nearest(m, gfp, order))


def _largest(name: str, m: Machine, gfp: Gfp) -> Answer:
    """The largest order that is served, each asked on a copy of the machine; what order 0 says where none is."""
    for order in range(int(m.params[0].max_page_order), -1, -1):
        asked = _asked(f"{name}: order {order}, the largest", m, gfp, order)
        if asked.served:
            return asked
    return _asked(f"{name}: order 0", m, gfp, 0)


def _nearest(m: Machine, gfp: Gfp, order: Order) -> str:
    """By how many pages the nearest zone refuses at its min mark, or that it has no block of the order."""
    best = None
    for z in range(len(m.zones)):
        missing = pages_missing(m, z, gfp, order)
        if missing != NOT_ALLOWED and (best is None or missing < best[0]):
            best = missing, z
    if best is None:
        return "no zone that it may take from"
    missing, z = best
    name = ZONE_NAMES[m.zones[z].zone_type]
    if not missing:
        return f"zone {name} is above its mark, without a free block of order {order} or more for it"
    return f"zone {name}: {missing:,} pages too few"


def _pages_of_vmalloc(m: Machine, gfp: Gfp, order: Order) -> Answer:
    """kvmalloc takes single pages where there is no block."""
    wanted = min(1 << order, VMALLOC_PAGES_MAX)
    copy = copy_machine(m)
    given = 0
    while given < wanted and allocate(copy, BOOT_CPU, gfp, 0) != NO_PAGE:
        given += 1
    if given == wanted:
        return Answer("kvmalloc", True, f"{given:,} single pages of vmalloc")
    return Answer("kvmalloc", False, f"{given:,} of {wanted:,} single pages; then {_nearest(copy, gfp, 0)}")


def _larger_reserve(m: Machine, config: MachineConfig, gfp: Gfp, order: Order) -> Answer:
    """The same memory under the marks of a larger min_free_kbytes."""
    more = copy_machine(m)
    pages = sum(int(zone.watermark[WMARK_MIN]) for zone in m.zones if zone.zone_type != ZONE_MOVABLE)
    kbytes = RESERVE_TIMES * pages << (config.page_shift - 10)
    boosts = more.zones["watermark_boost"].copy()
    set_reserve(more, Sysctl(watermark_scale_factor=config.sysctl.watermark_scale_factor), kbytes)
    more.zones["watermark_boost"] = boosts
    asked = _asked(f"min_free_kbytes {kbytes:,}, {RESERVE_TIMES} times as much", more, gfp, order)
    return asked._replace(where=f"{asked.where}; only what kswapd would have kept free for it can help")
