"""What a machine's memory is in use for: LRU lists, slab caches, per-CPU lists; as keys of its file, or as notes.

Where no free lists are said, memory is filled as the LRU lists are long. With free lists all else is in use, and
the state cannot say for what: sizes are notes then. Caches of slabinfo that kmsim does not have, or has with another
size, become `machine.caches`; what of them is in use is a note.
"""

import re
from typing import Any

from kmsim.config.caches import KERNELS_OWN, KERNELS_PREFIXES, shipped_caches
from kmsim.config.machine import CACHES_MAX
from kmsim.config.memory_map import Arch
from kmsim.config.quantities import NAME_PATTERN
from kmsim.config.state import FILLED_MAX
from kmsim.procfs.slabinfo import CacheLine
from kmsim.survey.told import Facts

# The LRU lists of zoneinfo and of reports, by the names of /proc/meminfo.
LRU_NAMES = {
    "active_anon": "Active(anon)",
    "inactive_anon": "Inactive(anon)",
    "active_file": "Active(file)",
    "inactive_file": "Inactive(file)",
    "unevictable": "Unevictable",
}
FILLED_MIN = 0.01  # assumed: with less in use a machine is taken as freshly booted
SLOT_MORE = 64  # assumed: bytes that a slot may be larger than its object, by alignment and its freelist pointer


def add_lru(facts: Facts, page_shift: int) -> None:
    """The LRU lists' sizes in kB, where no meminfo says them."""
    for name, pages in facts.lru.items():
        facts.in_use.setdefault(LRU_NAMES[name], pages << (page_shift - 10))


def filled(facts: Facts, managed_pages: int, page_shift: int) -> dict[str, Any] | None:
    """The state of a machine without free lists, by its LRU lists; None where it is freshly booted."""
    kib = managed_pages << (page_shift - 10)
    shares = {}
    for key, kind in (("page_cache", "file"), ("anonymous", "anon")):
        used = sum(facts.in_use.get(f"{state}({kind})", 0) for state in ("Active", "Inactive"))
        shares[key] = round(used / kib, 4) if kib else 0.0
    if sum(shares.values()) < FILLED_MIN:
        facts.notes.append("no free lists are said: the machine is freshly booted (assumed)")
        return None
    total = sum(shares.values())
    if total > FILLED_MAX:
        facts.notes.append(f"of memory {total:.0%} is on LRU lists, of which {FILLED_MAX:.0%} are simulated")
        shares = {key: int(share * FILLED_MAX / total * 10_000) / 10_000 for key, share in shares.items()}
    facts.notes.append("no free lists are said: files and processes have memory as the LRU lists say, the rest is free")
    return {"filled": {key: share for key, share in shares.items() if share}}


def caches_of(facts: Facts, arch: Arch) -> list[dict[str, Any]]:
    """The caches of slabinfo that are not as kmsim has them, those with most pages first."""
    shipped = shipped_caches(arch)
    found: dict[str, dict[str, Any]] = {}
    for cache in sorted(facts.caches, key=lambda cache: -_pages(cache)):
        own = cache.name in KERNELS_OWN or cache.name.startswith(KERNELS_PREFIXES)
        if own or cache.name in found or not re.fullmatch(NAME_PATTERN, cache.name):
            continue
        known = shipped.get(cache.name)
        if known is not None and known.object_size <= cache.objsize <= known.object_size + SLOT_MORE:
            continue
        keys: dict[str, Any] = {"name": cache.name, "object_size": f"{cache.objsize}B"}
        if known is not None and known.flags:
            keys["flags"] = list(known.flags)
        found[cache.name] = keys | {"source": "slabinfo: the size of a slot"}
    if found:
        facts.notes.append("caches of slabinfo have objects as large as their slots, and no constructors (assumed)")
    if len(found) > CACHES_MAX:
        facts.notes.append(f"of {len(found)} caches the {CACHES_MAX} with most pages are kept")
    return list(found.values())[:CACHES_MAX]


def notes_of_use(facts: Facts) -> list[str]:
    """What is in use, and not simulated as such."""
    notes = []
    in_lists = sum(zone.in_pcp_lists for zone in facts.zones.values())
    if in_lists:
        notes.append(f"{in_lists:,} pages in per-CPU lists count as in use: these lists start empty")
    sizes = [(zone.name, zone.pcp_high, zone.batch) for zone in facts.zones.values() if zone.pcp_high]
    if sizes:
        said = ", ".join(f"{name} high {high:,}, batch {batch}" for name, high, batch in sizes)
        notes.append(f"per-CPU lists of zones {said}: their sizes are as the simulated kernel sets them (assumed)")
    used = ", ".join(f"{name} {kb:,} kB" for name, kb in facts.in_use.items() if kb)
    if used:
        notes.append(f"in use, and not simulated as such: {used}")
    if facts.caches:
        pages = sum(map(_pages, facts.caches))
        notes.append(f"{len(facts.caches)} slab caches with {pages:,} pages of slabs: in use, not simulated as such")
    return notes


def _pages(cache: CacheLine) -> int:
    return cache.num_slabs * cache.pagesperslab
