"""Cache lines of objects: where an object's line is when SLUB reads or writes its free pointer.

Counted as the lines of struct pages are (see `mm.cacheline`), with the same count of a CPU's misses, but
remembered a slab at a time, not a line at a time:
    freed here      objects that this CPU freed to its own cpu slab lie at the head of that free list, and
                    their lines are hot; `nr_hot` counts them
    the rest        of a cpu slab's free list: where the slab's lines were when it became the cpu slab: hot,
                    in memory, or with the CPU that touched the slab last (`other`, plus that CPU)
    allocated       a free finds the line with the CPU that allocated the object (its link says which)
A line is as old as its slab's last touch: by the owner of the cpu slab, or, for other slabs, by whoever
allocated from the slab or freed to it on the slow path. Objects smaller than a line share it, in the order
of their addresses. Setting a new slab up writes its lines in order: `sequential`.

Leaves out what the caller does with the object, and that a new slab's pages may still be in the cache. Takes no
lock; the caller owns the object. Invariant: nr_hot >= 0.
"""

from kmsim.jit import core, small
from kmsim.mm.cacheline import age, last_toucher, toucher
from kmsim.mm.indices import CpuIdx, CpuSlabIdx, ObjectIdx, SlabIdx
from kmsim.mm.limits import U32_MAX
from kmsim.mm.mmzone import NO_CACHES, Machine
from kmsim.mm.remote_lines import count_from_cpu, count_from_memory, count_prefetched
from kmsim.mm.slub_records import OWNERS, Slub

LINE_HOT, LINE_MEMORY, LINE_OTHER = range(3)
LINE_SHIFT = 6
_NO_LINE = -2


@small
def start_list(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, rest: int) -> None:
    """A cpu slab has got a new free list, whose lines are at `rest`."""
    cpu_slab = sl.cpu_slabs[c]
    cpu_slab.nr_hot = 0
    cpu_slab.rest = rest
    cpu_slab.last_line = _NO_LINE
    cpu_slab.touched = int(m.cpus[cpu].nr_misses) & U32_MAX


@small
def touch_allocated(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, obj: ObjectIdx) -> None:
    """Count the touch of an object that leaves the free list of cpu slab `c`."""
    cpu_slab = sl.cpu_slabs[c]
    now = int(m.cpus[cpu].nr_misses)
    is_young = age(now, int(cpu_slab.touched)) <= m.params[0].cache_lines
    cpu_slab.touched = now & U32_MAX
    nr_hot = int(cpu_slab.nr_hot)
    if nr_hot > 0:
        cpu_slab.nr_hot = nr_hot - 1
    if is_young and (nr_hot > 0 or int(cpu_slab.rest) == LINE_HOT):
        m.work[0].lines_hot += 1
    else:
        touch_cold(m, sl, c, cpu, obj, is_young)


@core
def touch_cold(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, obj: ObjectIdx, is_young: bool) -> None:
    """Count a touch on the free list of a cpu slab whose line is not hot by what the list says."""
    if m.params[0].cache_lines == NO_CACHES:
        return
    cpu_slab = sl.cpu_slabs[c]
    if not is_young:
        cpu_slab.nr_hot = 0
        cpu_slab.rest = LINE_MEMORY
        cpu_slab.last_line = _NO_LINE
    slot_size = int(sl.caches[int(sl.slabs[int(cpu_slab.slab)].cache)].slot_size)
    line = (obj - int(cpu_slab.first_object)) * slot_size >> LINE_SHIFT
    last_line = int(cpu_slab.last_line)
    cpu_slab.last_line = line
    if line == last_line:
        m.work[0].lines_hot += 1
        return
    if int(cpu_slab.rest) >= LINE_OTHER:
        m.work[0].lines_other += 1
        count_from_cpu(m, cpu, int(cpu_slab.rest) - LINE_OTHER, 1)
    elif abs(line - last_line) == 1:
        m.work[0].lines_sequential += 1
        count_prefetched(m, cpu, int(sl.slabs[int(cpu_slab.slab)].pfn), 1)
    else:
        m.work[0].lines_memory += 1
        count_from_memory(m, cpu, int(sl.slabs[int(cpu_slab.slab)].pfn))
    m.cpus[cpu].nr_misses += 1


@small
def touch_freed(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, owner: CpuIdx) -> None:
    """Count the touch of an object of CPU `owner` that is freed to the cpu slab `c`; it is now hot."""
    cpu_slab = sl.cpu_slabs[c]
    now = int(m.cpus[cpu].nr_misses)
    is_young = age(now, int(cpu_slab.touched)) <= m.params[0].cache_lines
    cpu_slab.touched = now & U32_MAX
    if is_young and owner == cpu & (OWNERS - 1):
        m.work[0].lines_hot += 1
        cpu_slab.nr_hot += 1
    else:
        touch_foreign(m, sl, c, cpu, owner, is_young)


@core
def touch_foreign(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, owner: CpuIdx, is_young: bool) -> None:
    """Count the touch of an object that is freed to a cpu slab and whose line is not in this CPU's cache."""
    if m.params[0].cache_lines == NO_CACHES:
        return
    cpu_slab = sl.cpu_slabs[c]
    if not is_young:
        cpu_slab.nr_hot = 0
        cpu_slab.rest = LINE_MEMORY
    cpu_slab.nr_hot += 1
    if owner == cpu & (OWNERS - 1):
        count_line(m, sl, int(cpu_slab.slab), cpu, LINE_MEMORY)
    else:
        count_line(m, sl, int(cpu_slab.slab), cpu, line_with(m, sl, int(cpu_slab.slab), owner))


@small
def touch_freed_slowly(m: Machine, sl: Slub, slab: SlabIdx, cpu: CpuIdx, owner: CpuIdx) -> None:
    """Count the touch of an object of CPU `owner` that is freed to a slab which is not this CPU's."""
    where = line_with(m, sl, slab, owner)
    if owner == cpu & (OWNERS - 1) and where >= LINE_OTHER:
        where = LINE_HOT
    count_line(m, sl, slab, cpu, where)


@small
def count_line(m: Machine, sl: Slub, slab: SlabIdx, cpu: CpuIdx, where: int) -> None:
    """Count one line of a slab."""
    if where == LINE_HOT:
        m.work[0].lines_hot += 1
        return
    if m.params[0].cache_lines == NO_CACHES:
        return
    m.cpus[cpu].nr_misses += 1
    if where >= LINE_OTHER:
        m.work[0].lines_other += 1
        count_from_cpu(m, cpu, where - LINE_OTHER, 1)
    else:
        m.work[0].lines_memory += 1
        count_from_memory(m, cpu, int(sl.slabs[slab].pfn))


@small
def line_with(m: Machine, sl: Slub, slab: SlabIdx, owner: CpuIdx) -> int:
    """LINE_OTHER and the CPU, where the cache of an object's owner still has its line, else LINE_MEMORY."""
    record = sl.slabs[slab]
    is_last = int(record.toucher) == toucher(owner)
    if is_last and age(int(m.cpus[owner].nr_misses), int(record.touched)) > m.params[0].cache_lines:
        return LINE_MEMORY
    return LINE_OTHER + owner


@small
def where_lines_are(m: Machine, sl: Slub, slab: SlabIdx, cpu: CpuIdx) -> int:
    """Where the lines of a slab's free objects are, seen from a CPU that takes them."""
    record = sl.slabs[slab]
    last = last_toucher(int(record.toucher))
    if last < 0 or age(int(m.cpus[last].nr_misses), int(record.touched)) > m.params[0].cache_lines:
        return LINE_MEMORY
    return LINE_HOT if last == cpu else LINE_OTHER + last


@small
def stamp_slab(m: Machine, sl: Slub, slab: SlabIdx, cpu: CpuIdx) -> None:
    """Say in the slab's record that this CPU has touched its objects now."""
    record = sl.slabs[slab]
    record.toucher = toucher(cpu)
    record.touched = int(m.cpus[cpu].nr_misses) & U32_MAX


@core
def touch_set_up(m: Machine, sl: Slub, slab: SlabIdx, cpu: CpuIdx) -> None:
    """Count the lines that setting a new slab up writes: free pointers, or all of it where there is a constructor."""
    if m.params[0].cache_lines == NO_CACHES:
        return
    record = sl.slabs[slab]
    cache = sl.caches[int(record.cache)]
    objects = int(record.objects)
    nr_lines = (objects * int(cache.slot_size) + (1 << LINE_SHIFT) - 1) >> LINE_SHIFT
    if not cache.has_ctor:
        nr_lines = min(nr_lines, objects)
    m.work[0].lines_sequential += nr_lines
    count_prefetched(m, cpu, int(record.pfn), nr_lines)
    m.cpus[cpu].nr_misses += nr_lines
