"""Cache lines of struct page: where the line is when the kernel touches a page's record.

A struct page is one line of 64 bytes. `pages` remembers which CPU touched it last, and that CPU's
count of misses then; the line is in the CPU's cache until the CPU has missed `cache_lines` times
more. So a touch is one of four:
    hot         this CPU touched the line last, and its cache still has it
    other       another CPU touched it last, and that CPU's cache still has it
    sequential  no cache has it, but it is beside the line that this CPU last fetched: prefetched
    memory      no cache has it otherwise
All but the first are misses. The first pages of blocks of order k are 2^k lines apart, and so share one in 2^k of the
cache's sets: in a request of that order each miss counts as 2^k misses. Every touch refreshes the line's age (least
recently used goes first) and takes it away from other CPUs, as a write does.

On a machine of several nodes, how far the line comes is counted, too (`mm.remote_lines`).

Leaves out: levels of cache, sharing of lines that are only read, what else depends on sets, other data that
competes for the cache, pages of the memory itself. List heads are lines of the zone or of the pcp,
whose lock's price covers them. While memory is being set up `cache_lines` is NO_CACHES: no touch is
seen then, so that every line starts in no cache, without a write to every page record. Ages are
modulo 2^32: a line that was not touched for 2^32 misses counts as young again. Invariant: toucher <=
nr_cpus. Lock order: takes none, and needs none that the caller does not hold for the page. The CPU
is that of the context `ac`.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Order, Pfn
from kmsim.mm.limits import U32_MAX
from kmsim.mm.mmzone import NO_CACHES, Machine
from kmsim.mm.remote_lines import count_from_cpu, count_from_memory, count_prefetched

SET_BITS = 10  # a cache of 2^10 sets (assumed: a server CPU's second-level cache, 1.25 MiB in 20 ways)


@small
def toucher(cpu: CpuIdx) -> int:
    """A CPU as the one that has touched a line; in a zeroed record it is nobody."""
    return cpu + 1


@small
def last_toucher(of_record: int) -> CpuIdx:
    """The CPU that a record's `toucher` means, or -1."""
    return of_record - 1


@small
def touch(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Count a touch of a page's struct page."""
    cpu = int(m.contexts[ac].cpu)
    now = int(m.cpus[cpu].nr_misses)
    page = m.pages[pfn]
    if int(page.toucher) == toucher(cpu) and age(now, int(page.touched)) <= m.params[0].cache_lines:
        page.touched = now & U32_MAX
        m.work[0].lines_hot += 1
    else:
        miss(m, ac, cpu, pfn)


@small
def touch_neighbour(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """`touch` what is beside a page on a list, unless it is the list's head."""
    if pfn < m.params[0].nr_frames:
        touch(m, ac, pfn)


@core
def touch_block(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Count a walk over all struct pages of a block; whoever took it off a list has just touched the first."""
    touch(m, ac, pfn)
    if order:
        touch_tails(m, ac, pfn, order)


@core
def touch_tails(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Count a walk over the struct pages of a block of order > 0 behind the first: they are as hot as the last.

    Only that one's record is read and stamped, since 2^order writes would cost too much. Where no cache
    has it, they come by the prefetcher.
    """
    if m.params[0].cache_lines == NO_CACHES:
        return
    nr_others = (1 << order) - 1
    cpu = int(m.contexts[ac].cpu)
    last = pfn + nr_others
    if is_cached(m, cpu, last):
        m.work[0].lines_hot += nr_others
    else:
        if is_elsewhere(m, last):
            m.work[0].lines_other += nr_others
            count_from_cpu(m, cpu, last_toucher(int(m.pages[last].toucher)), nr_others)
        else:
            m.work[0].lines_sequential += nr_others
            count_prefetched(m, cpu, last, nr_others)
            m.cpus[cpu].last_pfn = last
        m.cpus[cpu].nr_misses += nr_others
    stamp(m, cpu, last)


@small
def age(now: int, touched: int) -> int:
    """Misses since then, by a count that is kept modulo 2^32."""
    return (now - touched) & U32_MAX


@small
def is_cached(m: Machine, cpu: CpuIdx, pfn: Pfn) -> bool:
    """Did this CPU touch the line last, and not too many misses ago?"""
    page = m.pages[pfn]
    is_ours = int(page.toucher) == toucher(cpu)
    return is_ours and age(int(m.cpus[cpu].nr_misses), int(page.touched)) <= m.params[0].cache_lines


@small
def is_elsewhere(m: Machine, pfn: Pfn) -> bool:
    """Is the line still in the cache of the CPU that touched it last? Asked where it is not in this CPU's."""
    cpu = last_toucher(int(m.pages[pfn].toucher))
    return cpu >= 0 and is_cached(m, cpu, pfn)


@small
def stamp(m: Machine, cpu: CpuIdx, pfn: Pfn) -> None:
    """Say in the page's record that this CPU has touched it now."""
    page = m.pages[pfn]
    page.toucher = toucher(cpu)
    page.touched = int(m.cpus[cpu].nr_misses) & U32_MAX


@small
def miss(m: Machine, ac: ContextIdx, cpu: CpuIdx, pfn: Pfn) -> None:
    """Count a touch that is not hot."""
    if m.params[0].cache_lines == NO_CACHES:
        return
    if is_elsewhere(m, pfn):
        m.work[0].lines_other += 1
        count_from_cpu(m, cpu, last_toucher(int(m.pages[pfn].toucher)), 1)
    else:
        if abs(pfn - m.cpus[cpu].last_pfn) == 1:
            m.work[0].lines_sequential += 1
            count_prefetched(m, cpu, pfn, 1)
        else:
            m.work[0].lines_memory += 1
            count_from_memory(m, cpu, pfn)
        m.cpus[cpu].last_pfn = pfn
    m.cpus[cpu].nr_misses += 1 << min(int(m.contexts[ac].order), SET_BITS)
    stamp(m, cpu, pfn)
