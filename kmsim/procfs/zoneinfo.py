"""/proc/zoneinfo: every zone's watermarks, counters and per-CPU lists (kernel: zoneinfo_show_print).

All zones are listed; of one without pages only the marks, sizes and protection. The first
populated zone carries the node's counters. Marks are shown with the boost in them. What kmsim
does not model is printed as 0. `parse` also takes what other kernels print, from 2.6.32 on (in which a zone's counters
stand before its protection, and count as the node's), with and without indentation.
"""

import re
from dataclasses import dataclass, field

from kmsim.mm.mmzone import ZONE_NAMES, Machine, pcps_of_zone
from kmsim.procfs.stat_items import FREE_BLOCKS, NODE_LRU_ITEMS, ZONE_LRU_ITEMS, node_stat_items, zone_stat_items
from kmsim.procfs.text import Once, count, lines_of, refusal, shown
from kmsim.procfs.vmstat import named_counters, nr_free_in_pageblocks, numa_events

SIZES = ("boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma")
_SIZES_SINCE = {"boost": 5_012, "cma": 5_012, "promo": 6_007}  # the release that printed them first
_COUNTERS = ("count", "high", "batch")  # of a pageset
_NEWER_COUNTERS = (*_COUNTERS, "high_min", "high_max")  # from _SERIES_OF_MORE on
_SIZES_MUST = ("min", "low", "high", "spanned", "present")  # what every kernel prints

# Lines as they are without their indentation, which differs between kernels and is lost in a paste.
_ZONE = re.compile(r"Node +([0-9]{1,4}), zone +([A-Za-z0-9]{1,16})")
_FREE = re.compile(r"pages free +(\S+)")
_SIZE = re.compile(r"(boost|min|low|high|promo|scanned|spanned|present|managed|cma) +(\S+)(?: \(aa: \d+ ia: \d+\))?")
_PROTECTION = re.compile(r"protection: \(([0-9, ]+)\)")
_STAT = re.compile(r"([a-z][a-z0-9_]*) +(\S+)")
_NAMELESS = re.compile(r"[0-9]{1,20}")  # a counter of 4.17 to 4.19, which print no name for it
_CPU = re.compile(r"cpu: ([0-9]{1,6})(?: pcp: [0-9]+)?")
_PCP = re.compile(r"([a-z_]+): +(\S+)")
_THRESHOLD = re.compile(r"vm stats threshold: (\S+)")
_TAIL = re.compile(r"(node_unreclaimable|start_pfn): +(\S+)")
_HIGHATOMIC = re.compile(r"(reserved_highatomic|free_highatomic): +(\S+)")
_SERIES_OF_MORE = 7_003  # what was recorded of it prints these, and limits of lists, and 6.12 does not
_GONE = re.compile(r"(?:all_unreclaimable|prev_priority|temp_priority|inactive_ratio): +[0-9]+")  # of older kernels
_HEADS = ("per-node stats", "pagesets")


@dataclass
class Pageset:
    """One CPU's lists of a zone: `count`, `high`, `batch` by name, and its threshold of pending deltas."""

    cpu: int
    counters: dict[str, int] = field(default_factory=dict)
    stat_threshold: int | None = None


@dataclass
class ZoneInfo:
    """One zone. `sizes` has the `SIZES`, marks with the boost; without pages, the rest is empty."""

    node: int
    zone: str
    node_stats: dict[str, int] = field(default_factory=dict)
    free: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    protection: tuple[int, ...] = ()
    stats: dict[str, int] = field(default_factory=dict)
    pagesets: list[Pageset] = field(default_factory=list)
    node_unreclaimable: int | None = None
    start_pfn: int | None = None
    highatomic: dict[str, int] = field(default_factory=dict)  # behind start_pfn, of newer kernels


def rows(m: Machine) -> list[ZoneInfo]:
    """What the file says of this machine."""
    infos = []
    series = int(m.params[0].series)
    with_node_stats: set[int] = set()  # the nodes whose first populated zone was printed
    for z, zone in enumerate(m.zones):
        boost = int(zone.watermark_boost)
        marks = [int(mark) + boost for mark in zone.watermark]
        spanned = int(zone.end_pfn - zone.start_pfn)
        sizes = (boost, *marks, spanned, int(zone.present_pages), int(zone.managed_pages), 0)
        info = ZoneInfo(
            node=int(zone.node),
            zone=ZONE_NAMES[zone.zone_type],
            free=max(0, int(zone.nr_free_pages)),
            sizes={name: size for name, size in zip(SIZES, sizes, strict=True) if series >= _SIZES_SINCE.get(name, 0)},
            protection=tuple(int(pages) for pages in zone.lowmem_reserve),
        )
        infos.append(info)
        if not zone.present_pages:
            continue
        if info.node not in with_node_stats:
            with_node_stats.add(info.node)
            info.node_stats = dict.fromkeys(node_stat_items(series), 0)
            if m.lru is not None:
                info.node_stats |= named_counters(NODE_LRU_ITEMS, m.lru.lruvecs[info.node]["vm_stat"])
        info.stats = dict.fromkeys(zone_stat_items(series), 0) | {"nr_free_pages": info.free}
        if FREE_BLOCKS in info.stats:
            info.stats[FREE_BLOCKS] = nr_free_in_pageblocks(m.zones[[z]], m)
        if m.lru is not None:
            info.stats |= named_counters(ZONE_LRU_ITEMS, m.lru.zones[z]["vm_stat"])
        if m.params[0].numa:
            info.stats |= numa_events(m.zones[[z]])
        pcps = pcps_of_zone(m, z)
        counted = _NEWER_COUNTERS if series >= _SERIES_OF_MORE else _COUNTERS
        columns = (pcps[name].tolist() for name in (*counted, "stat_threshold"))
        for cpu, values in enumerate(zip(*columns, strict=True)):
            *counters, threshold = values
            info.pagesets.append(Pageset(cpu, dict(zip(counted, counters, strict=True)), threshold))
        info.node_unreclaimable = 0
        info.start_pfn = int(zone.start_pfn)
        if series >= _SERIES_OF_MORE:
            kept = {"reserved": zone.nr_reserved_highatomic, "free": zone.nr_free_highatomic}
            info.highatomic = {f"{name}_highatomic": int(pages) for name, pages in kept.items()}
    return infos


def text(infos: list[ZoneInfo]) -> str:
    """The file, as the kernel prints it."""
    return "".join(f"{line}\n" for info in infos for line in _zone_lines(info))


def show(m: Machine) -> str:
    """This machine's /proc/zoneinfo (kernel: zoneinfo_show)."""
    return text(rows(m))


def parse(content: str) -> list[ZoneInfo]:
    """Read a /proc/zoneinfo; ValueError names the first line that does not belong there."""
    infos: list[ZoneInfo] = []
    once = Once()
    lines = [line.strip() for line in lines_of(content)]
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        match = _ZONE.fullmatch(line)
        if match is not None:
            if infos:
                _check_whole(infos[-1], number - 1)
            infos.append(ZoneInfo(int(match[1]), match[2]))
            once.note((int(match[1]), match[2]), number, f"node {match[1]}, zone {match[2]}")
        elif not infos:
            raise refusal(number, f"not 'Node N, zone NAME': {shown(line)}")
        elif not _take(infos[-1], line, number):
            raise refusal(number, f"not a line of this file, or not at its place: {shown(line)}")
    if not infos:
        raise refusal(len(lines), "no zone")
    _check_whole(infos[-1], len(lines))
    return infos


def _zone_lines(info: ZoneInfo) -> list[str]:
    lines = [f"Node {info.node}, zone {info.zone:>8}"]
    if info.node_stats:
        lines.append("  per-node stats")
        lines += [f"      {name:<12} {value}" for name, value in info.node_stats.items()]
    lines.append(f"  pages free     {info.free}")
    lines += [f"        {name:<8} {value}" for name, value in info.sizes.items()]
    lines.append(f"        protection: ({', '.join(map(str, info.protection))})")
    if info.start_pfn is None:
        return lines
    lines += [f"      {name:<12} {value}" for name, value in info.stats.items()]
    lines.append("  pagesets")
    for pageset in info.pagesets:
        lines.append(f"    cpu: {pageset.cpu}")
        lines += [f"              {name + ':':<6} {value}" for name, value in pageset.counters.items()]
        if pageset.stat_threshold is not None:
            lines.append(f"  vm stats threshold: {pageset.stat_threshold}")
    if info.node_unreclaimable is not None:
        lines.append(f"  node_unreclaimable:  {info.node_unreclaimable}")
    lines.append(f"  start_pfn:           {info.start_pfn}")
    lines += [f"  {name + ':':<20} {value}" for name, value in info.highatomic.items()]
    return lines


def _check_whole(info: ZoneInfo, number: int) -> None:
    """Did the zone that ends on this line have all that every kernel prints?"""
    missing = [name for name in _SIZES_MUST if name not in info.sizes]
    if info.node_unreclaimable is not None or _SIZES_SINCE.keys() & info.sizes.keys():
        missing += {"managed"} - info.sizes.keys()  # printed since 3.9; what else stands here came later
    if missing or not info.protection:
        raise refusal(number, f"zone {info.zone} ends before its {(missing or ['protection'])[0]}")
    if info.sizes["present"] and info.start_pfn is None:
        raise refusal(number, f"zone {info.zone} ends before its start_pfn")


def _take(info: ZoneInfo, line: str, number: int) -> bool:
    """Store what the line says in the zone; False if no such line can stand here."""
    if _GONE.fullmatch(line):
        return bool(info.sizes)
    if info.start_pfn is not None:
        match = _HIGHATOMIC.fullmatch(line)
        return match is not None and _new(info.highatomic, match, number)
    if line in _HEADS:
        return True
    match = _TAIL.fullmatch(line)
    if match is not None:
        setattr(info, match[1], count(match[2], number))
        return bool(info.sizes)
    if info.pagesets or _CPU.fullmatch(line):
        return _take_pageset(info, line, number)
    match = _FREE.fullmatch(line)
    if match is not None:
        info.free = count(match[1], number)
        return not info.sizes
    match = _PROTECTION.fullmatch(line)
    if match is not None:
        info.protection = tuple(count(word.strip(), number) for word in match[1].split(","))
        return bool(info.sizes)
    match = _SIZE.fullmatch(line)
    if match is not None:
        return not info.protection and _new(info.sizes, match, number)
    if _NAMELESS.fullmatch(line):
        return True
    match = _STAT.fullmatch(line)
    return match is not None and _new(info.stats if info.protection else info.node_stats, match, number)


def _take_pageset(info: ZoneInfo, line: str, number: int) -> bool:
    match = _CPU.fullmatch(line)
    if match is not None:
        info.pagesets.append(Pageset(int(match[1])))
        return len(info.pagesets) < 2 or info.pagesets[-2].cpu < info.pagesets[-1].cpu
    match = _THRESHOLD.fullmatch(line)
    if match is not None:
        info.pagesets[-1].stat_threshold = count(match[1], number)
        return True
    match = _PCP.fullmatch(line)
    return match is not None and _new(info.pagesets[-1].counters, match, number)


def _new(counters: dict[str, int], match: re.Match[str], number: int) -> bool:
    """Note a counter that has not been there yet."""
    if match[1] in counters:
        return False
    counters[match[1]] = count(match[2], number)
    return True
