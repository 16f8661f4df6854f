"""What a whole number means: aliases for annotations (all are `int`; nothing is checked but by who reads).

A pfn and a vpn count pages, an `...Idx` is the place of a record in one array. Where two kinds of things
have the same name in the kernel, the alias says which is meant. Leaves out counts, sizes and times, whose names
end in their units.
"""

# Pages.
Pfn = int  # a page frame number, or NO_PAGE; in list verbs also a list's head, which has a record in `pages`, too
Vpn = int  # a virtual page number
Order = int
Gfp = int  # a mask of GFP flags
Migratetype = int  # or NO_MIGRATETYPE

# Records of a `Machine`.
NodeIdx = int  # in `nodes`
ZoneIdx = int  # in `zones`, which are those of all nodes; or NO_ZONE
ZoneType = int  # ZONE_DMA ... ZONE_MOVABLE
ZonerefIdx = int  # in `zonerefs`
CpuIdx = int
ContextIdx = int  # in `contexts` of the machine, of SLUB and of vmalloc, and in the event core's `runs`
PcpIdx = int  # in `pcps`
PcpListIdx = int  # one of the lists of a pcp (kernel: pindex)

# Locks, of all allocators.
LockIdx = int  # numbered through, as `mm.locks` says
LockClassIdx = int  # in LOCK_CLASSES

# Records of what memory is in use by.
ProcessIdx = int  # in `processes`, or NO_PROCESS

# Records of a `Slub`.
CacheIdx = int  # in `caches`, or NO_CACHE
CacheNodeIdx = int  # in `cache_nodes`
CpuSlabIdx = int  # in `cpu_slabs`
SlabIdx = int  # in `slabs`, or NO_SLAB
ObjectIdx = int  # in `links`, or NO_OBJECT

# Records of a `Vm`.
AreaIdx = int  # in `areas`, or NO_AREA
VaIdx = int  # in `vas`, or NO_VA
VmapNodeIdx = int  # in `nodes`
PoolIdx = int  # in `pools`, or NO_POOL
FrameIdx = int  # in `frames`

# Records of the event core.
Level = int  # THREAD, SOFTIRQ or IRQ
TaskIdx = int  # in `tasks`, or NOBODY
SlotIdx = int  # in `slots`, or NO_SLOT
TimedIdx = int  # in `timed`

# Who holds a page: a number that the allocating side gives, or NO_HOLDER.
Holder = int
