"""Whole operations on a machine that reclaims, as Python calls them: one compiled call each."""

from kmsim.jit import entry
from kmsim.mm.lru import folio_add_lru, folio_set, lru_add_drain
from kmsim.mm.lru_recount import validate_lru
from kmsim.mm.mmzone import Machine


@entry
def add_folio(m: Machine, cpu: int, pfn: int, flags: int) -> None:
    """Make an allocated block a folio, by way of the CPU's batch."""
    folio_set(m, pfn, flags)
    if folio_add_lru(m, cpu, pfn):
        lru_add_drain(m, cpu)


@entry
def recount_lru(m: Machine) -> None:
    """Recount the LRU lists."""
    validate_lru(m)
