"""What texts say of a machine, each fact as it stands there: they complete each other, and the first to say it counts.

Leaves out what follows from the facts: where memory lies (`survey.layout`), which sysctls give its marks
(`survey.marks`). Kernels of 32 bits and other architectures are refused by name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from kmsim.config.memory_map import Arch
from kmsim.mm.mmzone import ZONE_NAMES
from kmsim.procfs import buddyinfo, mem_report, pagetypeinfo, slabinfo, zoneinfo
from kmsim.procfs.pasted import moments_of
from kmsim.procfs.stat_items import LRU_LISTS
from kmsim.procfs.text import line_and_why, refusal, shown
from kmsim.procfs.typed_lists import ListsError, of_buddyinfo, of_pagetypeinfo, of_report
from kmsim.survey.moments import chosen
from kmsim.survey.node_texts import cpus_in, distances_in, node_of
from kmsim.survey.texts import SYSCTLS, SurveyError, Text
from kmsim.survey.told import Facts, ZoneFacts

ARCHES: dict[str, Arch] = {
    "x86_64": "x86-64",
    "amd64": "x86-64",
    "x86-64": "x86-64",
    "aarch64": "arm64",
    "arm64": "arm64",
}
_BITS_32 = re.compile(r"^(i[3-6]86|x86|armv[4-7]\w*|arm|ppc|mips|mipsel|riscv32|s390)$")
_UNAME = re.compile(r"^Linux \S+ (\d+\.\d+\S*) (.*\S)", re.MULTILINE)
_VERSION = re.compile(r"Linux version (\d+\.\d+\S*)")
_CPUS = (re.compile(r"\bBrought up \d+ nodes?, (\d{1,5}) CPUs"), re.compile(r"\bnr_cpu_ids:(\d{1,5})\b"))
_CPU = re.compile(r"\bCPU: (\d{1,5}) (?:UID: \d{1,10} )?PID: ")
_X86 = re.compile(r"\b(?:RIP: |RSP: |EFLAGS: |BIOS-e820|x86/)")
_ARM64 = re.compile(r"\b(?:pstate: |lr : |x29: |x0 : |arm64|aarch64)")
_RAM = re.compile(r"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) : System RAM$")
_CHOSEN = re.compile(r"\[(\w+)\]")
_OPTION = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$")
_SYSCTL = re.compile(r"^vm\.(\w+) *= *([0-9 \t]+)$")

# What memory is used for, by the names of /proc/meminfo: said, and not simulated.
IN_USE = ("Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Slab", "PageTables")


# Words of the kernel's command line, by the options that they override.
BOOT_OPTIONS = {
    "init_on_alloc": "INIT_ON_ALLOC_DEFAULT_ON",
    "init_on_free": "INIT_ON_FREE_DEFAULT_ON",
    "numa_balancing": "NUMA_BALANCING_DEFAULT_ENABLED",
    "page_poison": "PAGE_POISONING",
    "page_owner": "PAGE_OWNER",
    "slub_debug": "SLUB_DEBUG_ON",
}


def facts_of(texts: list[Text], which: int | None) -> Facts:
    """The facts of all texts; `which`: of several moments or reports in a text the one to take, counted from 1."""
    facts, found = Facts(), _Files()
    for text in texts:
        facts.sources.append(text.path)
        try:
            READERS[text.kind](facts, found, text, which)
        except SurveyError:
            raise
        except ListsError as error:
            raise SurveyError(text.path, "have free lists", error.why, error.line) from None
        except ValueError as error:
            line, why = line_and_why(error)
            raise SurveyError(text.path, MUST.get(text.kind, f"be a {text.kind}"), why, line) from None
    _join(facts, found)
    facts.has_config = bool(facts.options)
    facts.options |= facts.booted
    for node, name in [*facts.zones, *((zone.node, zone.zone) for zone in (facts.lists.zones if facts.lists else ()))]:
        if name not in ZONE_NAMES:
            must = "be of a kernel of 64 bits" if name == "HighMem" else f"have no zones but {', '.join(ZONE_NAMES)}"
            places = ((text.path, _line_of(text.content, node, name)) for text in texts)
            path, line = next((place for place in places if place[1] is not None), (facts.sources[0], None))
            raise SurveyError(path, must, f"node {node}, zone {name}", line)
    return facts


def _line_of(content: str, node: int, name: str) -> int | None:
    """On which line a zone stands first, counted from 1."""
    pattern = re.compile(rf"Node +0*{node}(?:, zone)? +{re.escape(name)}\b")
    return next((number for number, line in enumerate(content.split("\n"), 1) if pattern.search(line)), None)


MUST = {
    "buddyinfo": "be a buddyinfo",
    "pagetypeinfo": "be a pagetypeinfo",
    "zoneinfo": "be a zoneinfo",
    "slabinfo": "be a slabinfo",
    "log": "be a kernel log with a report of a failed allocation, an OOM kill or memory (Mem-Info)",
}


@dataclass
class _Files:
    """What waits for a second file that completes it."""

    free: tuple[buddyinfo.FreeBlocks, ...] | None = None
    types: tuple[pagetypeinfo.NodeTypes, ...] | None = None
    where: str = ""


def _join(facts: Facts, found: _Files) -> None:
    """The free lists, from the files that say them together."""
    try:
        if found.types is not None:
            facts.lists = of_pagetypeinfo(found.types, found.free, {})
        elif found.free is not None and facts.lists is None:
            facts.lists = of_buddyinfo(found.free, {})
    except ListsError as error:
        raise SurveyError(found.where, "agree with the buddyinfo beside it", error.why, error.line) from None


def _buddyinfo(facts: Facts, found: _Files, text: Text, which: int | None) -> None:
    if found.free is None:
        found.free = buddyinfo.parse(chosen(text, moments_of(text.content, text.kind), which, facts.notes))


def _pagetypeinfo(facts: Facts, found: _Files, text: Text, which: int | None) -> None:
    if found.types is None:
        content = chosen(text, moments_of(text.content, text.kind), which, facts.notes)
        found.types, found.where = pagetypeinfo.parse(content, may_be_cut=True), text.path


def _zoneinfo(facts: Facts, _: _Files, text: Text, which: int | None) -> None:
    content = chosen(text, moments_of(text.content, text.kind), which, facts.notes)
    infos = zoneinfo.parse(content)
    for info in infos:
        sizes = info.sizes
        if not sizes["present"]:
            continue
        zone = facts.zones.setdefault((info.node, info.zone), ZoneFacts(info.node, info.zone))
        boost = sizes.get("boost", 0)
        low, middle, high = (sizes[name] - boost for name in ("min", "low", "high"))
        if not 0 <= low <= middle <= high:
            raise refusal(
                _line_of(content, info.node, info.zone) or 1, f"zone {info.zone}: marks {low}, {middle}, {high}"
            )
        zone.start_pfn, zone.spanned, zone.present = info.start_pfn, sizes["spanned"], sizes["present"]
        zone.managed = sizes.get("managed", sizes["present"])
        zone.marks, zone.boost = (low, middle, high), boost
        zone.protection = info.protection
        zone.in_pcp_lists = sum(pageset.counters.get("count", 0) for pageset in info.pagesets)
        zone.pcp_high = max((pageset.counters.get("high", 0) for pageset in info.pagesets), default=0)
        zone.batch = info.pagesets[0].counters.get("batch") if info.pagesets else None
        facts.cpus_at_least = max([facts.cpus_at_least, *(pageset.cpu + 1 for pageset in info.pagesets)])
        if not zone.spanned >= zone.present >= zone.managed:
            said = f"spanned {zone.spanned}, present {zone.present}, managed {zone.managed}"
            raise refusal(_line_of(content, info.node, info.zone) or 1, f"zone {info.zone}: {said}")
    for name in LRU_LISTS:
        of_zones = [info.stats.get(f"nr_zone_{name}") for info in infos]
        old = (info.node_stats.get(f"nr_{name}", info.stats.get(f"nr_{name}")) for info in infos)
        pages = [n for n in (of_zones if any(n is not None for n in of_zones) else old) if n is not None]
        if pages:
            facts.lru.setdefault(name, sum(pages))
    if any(info.pagesets for info in infos) and facts.cpus is None:
        facts.cpus = facts.cpus_at_least


def _log(facts: Facts, _: _Files, text: Text, which: int | None) -> None:
    """A report of the log, and what the log says beside it."""
    for pattern in _CPUS:
        said = pattern.search(text.content)
        if said is not None and facts.cpus is None:
            facts.cpus = int(said[1])
    facts.cpus_at_least = max([facts.cpus_at_least, *(int(cpu) + 1 for cpu in _CPU.findall(text.content))])
    if facts.arch is None and (_X86.search(text.content) or _ARM64.search(text.content)):
        facts.arch = "x86-64" if _X86.search(text.content) else "arm64"
    if not mem_report.IS_REPORT.search(text.content):
        _version(facts, _, text, which)
        return
    reports = mem_report.parse(text.content)
    if which is not None and not 1 <= which <= len(reports):
        raise SurveyError(text.path, f"have a report {which}", f"{len(reports)}")
    report = reports[(which or 1) - 1]
    if len(reports) > 1:
        facts.notes.append(f"{text.path}: report {which or 1} of {len(reports)} is taken; --which takes another")
    _take_report(facts, report)


def facts_of_report(report: mem_report.MemReport) -> Facts:
    """What one report says of its machine; SurveyError where it has no free lists."""
    facts = Facts(sources=["the report"])
    try:
        _take_report(facts, report)
    except ListsError as error:
        raise SurveyError("the report", "have free lists", error.why, error.line) from None
    return facts


def _take_report(facts: Facts, report: mem_report.MemReport) -> None:
    facts.release = facts.release or report.release or None
    facts.page_size = facts.page_size or report.page_size or None
    facts.lru = report.lru | facts.lru
    for told in report.zones:
        zone = facts.zones.setdefault((told.node, told.name), ZoneFacts(told.node, told.name))
        boost = told.boost or 0
        zone.marks = zone.marks or (told.min - boost, told.low - boost, told.high - boost)
        zone.boost = boost
        zone.present = zone.present or told.present
        zone.managed = zone.managed or told.managed
        zone.reserved_highatomic = told.reserved_highatomic
        if len(told.lowmem_reserve) >= len(ZONE_NAMES):  # a column for each zone type, and one for devices
            zone.protection = zone.protection or told.lowmem_reserve[: len(ZONE_NAMES)]
    if facts.lists is None:
        facts.lists = of_report(report)


def _iomem(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    ranges = []
    for line in text.content.splitlines():
        said = _RAM.match(line.strip("\r"))
        if said is not None and int(said[2], 16):
            ranges.append((int(said[1], 16), int(said[2], 16) + 1))
    facts.ram = facts.ram or tuple(sorted(ranges))


def _meminfo(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said = {name: int(kb) for name, kb in re.findall(r"^([A-Za-z()_]+): +(\d{1,15}) kB", text.content, re.MULTILINE)}
    facts.mem_total_kb = facts.mem_total_kb or said.get("MemTotal")
    for name in IN_USE:
        if name in said:
            facts.in_use.setdefault(name, said[name])


def _slabinfo(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    whole = "\n".join(line.rstrip() for line in text.content.rstrip().split("\n")) + "\n"
    facts.caches = facts.caches or slabinfo.parse(whole)


def _cpuinfo(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    cpus = len(re.findall(r"^processor\s*: \d+", text.content, re.MULTILINE))
    facts.cpus = facts.cpus or cpus or None
    if facts.arch is None and re.search(r"^vendor_id\s*:", text.content, re.MULTILINE):
        if not re.search(r"^flags\s*:.*\blm\b", text.content, re.MULTILINE):
            raise SurveyError(text.path, "be of a CPU of 64 bits", "no lm among its flags")
        facts.arch = "x86-64"
    elif facts.arch is None and re.search(r"^CPU implementer", text.content, re.MULTILINE):
        facts.arch = "arm64"


def _uname(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said = _UNAME.search(text.content)
    if said is None:
        raise SurveyError(text.path, "be what uname -a says", ascii(text.content[:60]), line=1)
    facts.release = facts.release or said[1]
    words = [word for word in said[2].split() if word != "GNU/Linux"]
    machine = next((word for word in words if word in ARCHES or _BITS_32.match(word)), words[-1])
    facts.arch = facts.arch or _arch(machine, text.path)


def _arch(machine: str, path: str) -> Arch:
    if _BITS_32.match(machine):
        raise SurveyError(path, "be of a kernel of 64 bits", machine)
    if machine not in ARCHES:
        raise SurveyError(path, "be of an x86-64 or an arm64 machine", machine)
    return ARCHES[machine]


def _version(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said = _VERSION.search(text.content)
    if said is not None:
        facts.release = facts.release or said[1]


def _config(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    for line in text.content.splitlines():
        said = _OPTION.match(line.strip())
        if said is not None:
            facts.options.setdefault(said[1].removeprefix("CONFIG_"), (said[2] or "n").strip('"'))
    options = facts.options
    if not options:
        raise SurveyError(text.path, "be a kernel's config", "no line CONFIG_NAME=VALUE", line=1)
    if options.get("64BIT", "y") == "n" or options.get("X86_32") == "y" or options.get("ARM") == "y":
        raise SurveyError(text.path, "be of a kernel of 64 bits", "CONFIG_64BIT is not set")
    if "y" in (options.get("X86_64"), options.get("ARM64")):
        facts.arch = facts.arch or ("x86-64" if options.get("X86_64") == "y" else "arm64")
    elif options.get("64BIT") == "y":
        raise SurveyError(text.path, "be of an x86-64 or an arm64 kernel", "neither CONFIG_X86_64 nor CONFIG_ARM64")
    pages = {"ARM64_4K_PAGES": 4096, "ARM64_16K_PAGES": 16384, "ARM64_64K_PAGES": 65536}
    facts.page_size = facts.page_size or next((size for name, size in pages.items() if options.get(name) == "y"), None)
    head = re.search(r"Linux/\S+ (\d+\.\d+\S*) Kernel Configuration", text.content)
    facts.release = facts.release or (head[1] if head else None)


def _sysctl(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    facts.sysctls.setdefault(text.kind, _numbers(text.content))


def _sysctls(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    for number, line in enumerate(text.content.split("\n"), 1):
        said = _SYSCTL.match(line.strip())
        if said is not None and said[1] in SYSCTLS:
            facts.sysctls.setdefault(said[1], _numbers(said[2], number))


def _numbers(words: str, line: int = 1) -> tuple[int, ...]:
    numbers = words.split()
    if not numbers or not all(word.isdigit() and len(word) < 12 for word in numbers):
        raise refusal(line, f"{shown(words.strip())} is no number")
    return tuple(map(int, numbers))


def _thp(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said = _CHOSEN.search(text.content)
    if said is not None and said[1] in ("always", "madvise", "never"):
        facts.thp = facts.thp or said[1]


def _lru_gen(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said = re.match(r"\s*(?:0x)?([0-9a-fA-F]{1,8})\s*$", text.content)
    if said is not None:
        facts.booted["LRU_GEN_ENABLED"] = "y" if int(said[1], 16) & 1 else "n"


def _cmdline(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    for word in text.content.split():
        name, _sign, value = word.partition("=")
        if name in BOOT_OPTIONS and value:
            facts.booted.setdefault(BOOT_OPTIONS[name], "n" if value in ("0", "n", "off", "disable") else "y")
        elif name == "transparent_hugepage" and value in ("always", "madvise", "never"):
            facts.thp = facts.thp or value


def _online(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    last = re.findall(r"\d{1,5}", text.content)
    if last:
        facts.cpus = int(last[-1]) + 1


def _cpulist(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    facts.node_cpus.setdefault(node_of(text.path), tuple(cpus_in(text.content.strip())))
    _count_cpus(facts)


def _distance(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    facts.distances.setdefault(node_of(text.path), _numbers(text.content))


def _numa(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    said, far = distances_in(text.content)
    facts.node_cpus = said | facts.node_cpus
    facts.distances = facts.distances or far
    _count_cpus(facts)


def _count_cpus(facts: Facts) -> None:
    """A machine has all the CPUs of its nodes."""
    facts.cpus_at_least = max([facts.cpus_at_least, *(cpu + 1 for cpus in facts.node_cpus.values() for cpu in cpus)])


def _page_size(facts: Facts, _: _Files, text: Text, _which: int | None) -> None:
    facts.page_size = facts.page_size or int(text.content)


READERS: dict[str, Callable[[Facts, _Files, Text, int | None], None]] = {
    "buddyinfo": _buddyinfo,
    "pagetypeinfo": _pagetypeinfo,
    "zoneinfo": _zoneinfo,
    "log": _log,
    "iomem": _iomem,
    "meminfo": _meminfo,
    "slabinfo": _slabinfo,
    "cpuinfo": _cpuinfo,
    "uname": _uname,
    "version": _version,
    "config": _config,
    "sysctls": _sysctls,
    "thp": _thp,
    "lru_gen": _lru_gen,
    "cmdline": _cmdline,
    "online": _online,
    "cpulist": _cpulist,
    "distance": _distance,
    "numa": _numa,
    "page_size": _page_size,
    **dict.fromkeys(SYSCTLS, _sysctl),
}
