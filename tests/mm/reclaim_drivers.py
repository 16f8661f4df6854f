"""Whole operations on a machine that reclaims, as Python calls them: one compiled call each."""

from kmsim.jit import entry
from kmsim.mm.filemap import read_begin, read_resume
from kmsim.mm.folio_batch import free_folios_begin, put_folio
from kmsim.mm.lru import folio_add_lru, folio_set, lru_add_drain
from kmsim.mm.lru_recount import validate_lru
from kmsim.mm.mmzone import Machine
from kmsim.mm.vmscan_asleep import Reclaims
from kmsim.mm.workingset import pack_shadow, shadow_age, shadow_node, shadow_workingset


@entry
def add_folio(m: Machine, cpu: int, pfn: int, flags: int) -> None:
    """Make an allocated block a folio, by way of the CPU's batch."""
    folio_set(m, pfn, flags)
    if folio_add_lru(m, cpu, pfn):
        lru_add_drain(m, cpu)


@entry
def put(m: Machine, ac: int, pfn: int, order: int) -> None:
    """Add an allocated block to the context's batch."""
    put_folio(m, ac, pfn, order)


@entry
def free_batch(m: Machine, ac: int) -> int:
    """Free the context's batch, where no lock is wanted."""
    return free_folios_begin(m, ac)


@entry
def recount_lru(m: Machine) -> None:
    """Recount the LRU lists."""
    validate_lru(m, m.lru.reclaims[:0])


@entry
def recount_with_asleep(m: Machine, asleep: Reclaims) -> None:
    """The same where reclaims are put away."""
    validate_lru(m, asleep)


@entry
def read_step(m: Machine, ac: int, index: int, gfp: int, begins: bool) -> int:
    """One step of a read of a page of the page cache; what it wants then."""
    return read_begin(m, ac, index, gfp) if begins else read_resume(m, ac)


@entry
def shadow_of(age: int, node: int, workingset: int) -> tuple[int, int, int, int]:
    """A shadow, and what can be read of it."""
    shadow = pack_shadow(age, node, workingset)
    return shadow, shadow_age(shadow), shadow_node(shadow), shadow_workingset(shadow)
