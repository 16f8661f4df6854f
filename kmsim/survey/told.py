"""What is told of a machine and its zones, before anything is concluded from it (`survey.facts` reads it)."""

from dataclasses import dataclass, field

from kmsim.config.memory_map import Arch
from kmsim.procfs import slabinfo
from kmsim.procfs.typed_lists import TypedLists


@dataclass
class ZoneFacts:
    """A zone, in pages; None: not said. Marks without their boost."""

    node: int
    name: str
    start_pfn: int | None = None
    spanned: int | None = None
    present: int | None = None
    managed: int | None = None
    marks: tuple[int, int, int] | None = None
    boost: int = 0
    protection: tuple[int, ...] = ()
    batch: int | None = None
    reserved_highatomic: int | None = None
    in_pcp_lists: int = 0
    pcp_high: int = 0  # the most that a CPU's lists may hold


@dataclass
class Facts:
    """All that was found."""

    arch: Arch | None = None
    page_size: int | None = None
    release: str | None = None
    cpus: int | None = None
    cpus_at_least: int = 1
    zones: dict[tuple[int, str], ZoneFacts] = field(default_factory=dict)
    lists: TypedLists | None = None
    ram: tuple[tuple[int, int], ...] = ()  # bytes, the end not included
    mem_total_kb: int | None = None
    sysctls: dict[str, tuple[int, ...]] = field(default_factory=dict)
    thp: str | None = None
    node_cpus: dict[int, tuple[int, ...]] = field(default_factory=dict)
    distances: dict[int, tuple[int, ...]] = field(default_factory=dict)  # from each node to all, in their order
    options: dict[str, str] = field(default_factory=dict)  # of the kernel's config; "n": not set
    in_use: dict[str, int] = field(default_factory=dict)  # kB by what it is used for
    lru: dict[str, int] = field(default_factory=dict)  # pages on LRU lists, where no meminfo says kB
    has_config: bool = False
    booted: dict[str, str] = field(default_factory=dict)  # options as the boot or the running kernel has them
    caches: tuple[slabinfo.CacheLine, ...] = ()
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
