"""What a kernel writes into its log when memory runs short: a failed request, or an OOM kill, and what each zone had.

    page allocation failure   the request, and what every zone held then (kernel: warn_alloc, __show_mem)
    allocation stalls         a request that has waited for long (4.10 to 4.14); and vmalloc's own failures
    OOM kill                  the request that could not go on, the zones, the tasks, who was killed (dump_header)
    Mem-Info alone            what the administrator asked for by sysrq-m: the zones, and no request
    memory cgroup OOM         the group, its usage and its limit: the machine itself was not short

Read as people paste it: behind a prefix of dmesg, journald or syslog, quoted or indented, with CRLF, with other lines
in between. The log of several reports gives several. Counts are in pages of the machine's page size, which the first
list of blocks says (its order 0 is one page). Kernels before 3.10 print no types of blocks, those before 5.12 no boost.

Leaves out hugetlb, swap, and kernels of 32 bits, which have a zone HighMem: they are refused.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from kmsim.procfs.log_lines import comm_before, joined
from kmsim.procfs.oom_report import (
    KILL_DONE,
    KILL_OF_CGROUP,
    Cgroup,
    Kill,
    Task,
    cgroup_of,
    kill_of,
    tasks_of,
    total_pages,
)
from kmsim.procfs.text import check_length, refusal, shown

LETTERS = {
    "U": "Unmovable",
    "M": "Movable",
    "E": "Reclaimable",
    "R": "Reserve",
    "H": "HighAtomic",
    "C": "CMA",
    "I": "Isolate",
}
ZONES = ("DMA", "DMA32", "Normal", "Movable", "Device")  # in the order in which they lie

# What a log with a report has.
IS_REPORT = re.compile(
    r"page allocation failure|page allocation stalls for|invoked oom-killer|\bMem-[Ii]nfo:|vmalloc: allocation failure|"
    r"vmalloc error: |Memory cgroup out of memory|CONSTRAINT_MEMCG"
)
_MEM_INFO = re.compile(r"\bMem-[Ii]nfo:")
_REQUEST = re.compile(
    r"page allocation failure(?:: |\. )|page allocation (?P<stalls>stalls for \d{1,12}ms), |invoked oom-killer: |"
    r"(?P<vmalloc>vmalloc(?:: allocation failure| error)(?:: |, ).*?)(?:, |(?= ))(?=mode:)"
)
_ORDER = re.compile(r"\border[:=](-?\d{1,9})\b")
_PAGE_ORDER = re.compile(r"\bpage order (\d{1,2})\b")
_MODE = re.compile(r"\b(?:mode|gfp_mask)[:=](0x[0-9a-fA-F]{1,8})(?:\(([A-Z_0-9a-z|]*)\))?")
_NODEMASK = re.compile(r"nodemask=(\(null\)|[0-9,-]+)")
_ALLOWED = re.compile(r"mems_allowed=([0-9,-]+)")
# Distributions print more letters of what tainted a kernel, and a dash for each that did not.
_RELEASE = re.compile(
    r"\b(?:Not tainted|Tainted: [A-Za-z ()-]+?),?\s+(?:\[[^\]]*\]=[A-Z_]+,? )*\(?(\d+\.\d+(?:\.\d+)?[^\s)]*)"
)
_VERSION = re.compile(r"\bLinux version \d")
_BOOTED = re.compile(rf"(?:{_RELEASE.pattern}|\bLinux version (\d+\.\d+\S*))")
_ZONE = re.compile(r"(?:\bNode (\d{1,4}) )?\b(DMA|DMA32|Normal|HighMem|Movable|Device) free:(\d+)kB (.*)")
_FIELD = re.compile(r"\b([a-z_]+):(\d+)[kK]B")
_RESERVE = re.compile(r"lowmem_reserve\[\]:((?: \d+)+)")
_BLOCKS = re.compile(
    r"(?:\bNode (\d{1,4}) )?\b(DMA|DMA32|Normal|HighMem|Movable|Device): ((?:>?\d+\*\d+kB (?:\([A-Z]+\) )?)+)= (\d+)kB"
)
_BLOCK = re.compile(r"(>?)(\d+)\*(\d+)kB (?:\(([A-Z]+)\))?")
_OF_ZONE = re.compile(r" free:\d|\*\d+[kK]B|lowmem_reserve|pages RAM|pages reserved|Total swap")
_LONG = re.compile(r"\d{16}")
_NOT_THERE = re.compile(r"\bpresent:0kB")  # an empty zone, which old kernels print too
_OF_32_BITS = re.compile(r"\bunwind_backtrace\b|\bEIP: [0-9a-f]{4}:|\[<[0-9a-f]{8}>\]")
_LRU = re.compile(r"(?<!\w)((?:in)?active_(?:anon|file)|unevictable):(\d{1,15})(?!\d|[kK]B)")  # in pages
_TRACE = re.compile(r"(?<![\w.])\.?(\w+)[\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+")  # without .constprop.0, .cold, .isra.0 ...


class Blocks(NamedTuple):
    """Free blocks of an order in a zone."""

    number: int
    types: str  # the letters of the types that have some; empty: not printed, or there are none
    at_least: bool  # the kernel stopped counting (">100000")


class ZoneReport(NamedTuple):
    """A zone as the report has it, in pages; None: this kernel does not print it."""

    node: int
    name: str
    free: int
    low: int
    min: int
    high: int
    boost: int | None
    reserved_highatomic: int | None
    present: int | None
    managed: int | None
    free_cma: int
    lowmem_reserve: tuple[int, ...]
    blocks: tuple[Blocks, ...]  # by order; empty: the report has no such line
    line: int


class Request(NamedTuple):
    """The request that failed, or for which something was killed; where nothing was, a page for GFP_KERNEL.

    A request of vmalloc stands for one of its pages, as `said` says.
    """

    comm: str
    order: int
    mode: int
    names: tuple[str, ...]  # of its GFP flags; empty: this kernel prints the number alone
    nodemask: str  # "" : any node
    mems_allowed: str
    is_oom: bool
    line: int
    has_failed: bool = True  # False: the memory was printed for another reason
    said: str = ""  # what the kernel says of it beside order and flags: how long it has waited, or vmalloc's words


class MemReport(NamedTuple):
    """One report of a log."""

    request: Request
    release: str  # "" where the report does not say it
    page_size: int  # in bytes; 0 where no list of blocks tells it
    zones: tuple[ZoneReport, ...]
    trace: tuple[str, ...]  # the functions of the call trace, innermost first
    tasks: tuple[Task, ...]
    kill: Kill
    cgroup: Cgroup | None
    total_pages: int | None  # RAM and swap, by which scores of tasks are scaled
    has_zone_lines: bool = False  # also where no list of blocks says how large a page is, so that `zones` is empty
    lru: dict[str, int] = {}  # pages on the LRU lists of the machine, by the names of these

    @property
    def killed(self) -> tuple[int, str] | None:
        """Pid and name of who was killed."""
        return self.kill.killed


def parse(text: str) -> list[MemReport]:
    """Every report of a log, in its order; a ValueError names the line that cannot be."""
    check_length(text)
    lines = joined(text.splitlines())
    requests = list(_requests(lines))
    if not requests:
        why = "no line has 'page allocation failure', 'invoked oom-killer', 'Mem-Info:' or a kill of a memory cgroup"
        raise refusal(max(len(lines), 1), f"no report: {why}")
    ends = [*(n for n, _ in requests[1:]), len(lines)]
    reports = []
    before, said = 0, ""
    for (start, request), end in zip(requests, ends, strict=True):
        said = next(
            (found[1] or found[2] for found in map(_BOOTED.search, reversed(lines[before:start])) if found), said
        )
        boot = next((n for n in range(start, end) if _VERSION.search(lines[n])), end)
        of_report = lines[start:boot]
        release = next((found[1] for found in map(_RELEASE.search, of_report) if found), said)
        reports.append(_report(request, of_report, release))
        before = start
    return reports


def _requests(lines: list[str]) -> Iterator[tuple[int, Request]]:
    """On which line each report begins, and its request; the first Mem-Info behind a request belongs to it.

    A kill of a memory cgroup belongs to the request for which it was made; without one it is a report of its own.
    """
    waits = kills = False
    for n, line in enumerate(lines):
        request = _request_of(line, n + 1)
        alone = Request("", 0, 0, ("GFP_KERNEL",), "", "", is_oom=False, line=n + 1, has_failed=False)
        if request is not None:
            yield n, request
            kills = request.is_oom
        elif _MEM_INFO.search(line) and not waits:
            yield n, alone
        elif KILL_OF_CGROUP.search(line) and not kills:
            yield n, alone._replace(names=(), is_oom=True)
            kills = True
        kills = kills and not KILL_DONE.search(line)
        waits = request is not None or (waits and not _MEM_INFO.search(line))


def _request_of(line: str, number: int) -> Request | None:
    found = _REQUEST.search(line)
    if found is None:
        return None
    rest = line[found.end() :]
    mode = _MODE.search(rest)
    order = (
        (_PAGE_ORDER.search(found["vmalloc"]) or (0, "0")) if found["vmalloc"] else _ORDER.search(line, found.start())
    )
    if order is None or mode is None:
        raise refusal(number, f"a report without order and mode: {shown(rest)}")
    if not -1 <= int(order[1]) <= 30:
        raise refusal(number, f"an order of {order[1]}")
    nodemask, allowed = _NODEMASK.search(rest), _ALLOWED.search(rest)
    return Request(
        comm_before(line[: found.start()]),
        max(int(order[1]), 0),  # -1: the administrator asked for an OOM kill (sysrq)
        int(mode[1], 16),
        tuple(mode[2].split("|")) if mode[2] else (),
        "" if nodemask is None or nodemask[1] == "(null)" else nodemask[1],
        "" if allowed is None else allowed[1],
        "oom-killer" in found[0],
        number,
        said=found["stalls"] or found["vmalloc"] or "",
    )


def _report(request: Request, lines: list[str], release: str) -> MemReport:
    """The report of a request, which stands on the first of these lines."""
    for number, line in enumerate(lines, request.line):
        if _OF_32_BITS.search(line):
            raise refusal(number, "a trace of a kernel of 32 bits, which is not modelled")
        if _OF_ZONE.search(line) and _LONG.search(line):
            raise refusal(number, "a number of more than 15 digits")
    page_kb = _page_kb(lines, request.line)
    zones = tuple(_zones(lines, request.line, page_kb)) if page_kb else ()
    return MemReport(
        request,
        release,
        page_kb << 10,
        zones,
        tuple(found[1] for found in map(_TRACE.search, lines) if found),
        tuple(tasks_of(lines)),
        kill_of(lines),
        cgroup_of(lines),
        total_pages(lines, page_kb),
        any(_ZONE.search(line) for line in lines),
        {found[1]: int(found[2]) for line in reversed(lines) for found in _LRU.finditer(line)},
    )


def _page_kb(lines: list[str], first: int) -> int:
    """The size of a page, which the lists of blocks say; 0 where there are none."""
    for number, line in enumerate(lines, first):
        found = _BLOCKS.search(line)
        if found is not None:
            block = _BLOCK.search(found[3])
            assert block is not None
            size = int(block[3])
            if size not in (4, 16, 64):
                raise refusal(number, f"pages of {size} kB")
            return size
    return 0


def _zones(lines: list[str], first: int, page_kb: int) -> Iterator[ZoneReport]:
    """The zones, each with the reserve that the line behind it says and its list of blocks."""
    blocks: dict[tuple[int, str], tuple[Blocks, ...]] = {}
    for number, line in enumerate(lines, first):
        found = _BLOCKS.search(line)
        if found is not None:
            blocks[int(found[1] or 0), found[2]] = _blocks(found[3], page_kb, number)
    found_zones: list[ZoneReport] = []
    for number, line in enumerate(lines, first):
        found, reserve = _ZONE.search(line), _RESERVE.search(line)
        if found is not None:
            if _NOT_THERE.search(found[4]):
                continue
            if found[2] == "HighMem":
                raise refusal(number, "a zone HighMem: kernels of 32 bits are not modelled")
            key = int(found[1] or 0), found[2]
            found_zones.append(_zone(key, found, blocks.get(key, ()), page_kb, number))
        elif reserve is not None and found_zones and not found_zones[-1].lowmem_reserve:
            found_zones[-1] = found_zones[-1]._replace(lowmem_reserve=tuple(map(int, reserve[1].split())))
    yield from found_zones


def _zone(
    key: tuple[int, str], found: re.Match[str], blocks: tuple[Blocks, ...], page_kb: int, number: int
) -> ZoneReport:
    fields = {name: int(value) // page_kb for name, value in _FIELD.findall(found[4])}
    missing = [name for name in ("min", "low", "high") if name not in fields]
    if missing:
        raise refusal(number, f"zone {key[1]} without {', '.join(missing)}")
    return ZoneReport(
        *key,
        free=int(found[3]) // page_kb,
        min=fields["min"],
        low=fields["low"],
        high=fields["high"],
        boost=fields.get("boost"),
        reserved_highatomic=fields.get("reserved_highatomic"),
        present=fields.get("present"),
        managed=fields.get("managed"),
        free_cma=fields.get("free_cma", 0),
        lowmem_reserve=(),
        blocks=blocks,
        line=number,
    )


def _blocks(words: str, page_kb: int, number: int) -> tuple[Blocks, ...]:
    by_order = []
    for order, block in enumerate(_BLOCK.finditer(words)):
        if int(block[3]) != page_kb << order:
            raise refusal(number, f"blocks of {block[3]} kB, where those of {page_kb << order} kB should be")
        unknown = set(block[4] or "") - set(LETTERS)
        if unknown:
            raise refusal(number, f"blocks of type {''.join(sorted(unknown))}, not of {''.join(LETTERS)}")
        by_order.append(Blocks(int(block[2]), block[4] or "", block[1] == ">"))
    return tuple(by_order)
