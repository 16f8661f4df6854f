"""From a resolved machine config to a `Machine` that can reclaim: its swap, and the memory that is in use at first.

Leaves out how memory is filled (`mm.fill_memory`). What a state asks for and the machine cannot give is refused as the
config door refuses.
"""

from kmsim.config.machine import MachineConfig
from kmsim.config.state import Filled
from kmsim.mm.fill_memory import fill
from kmsim.mm.lru_init import machine_that_reclaims, set_swap
from kmsim.mm.mmzone import BOOT_CPU, Machine
from kmsim.sim.run.refusals import HERE, refuse


def machine_in_use(m: Machine, config: MachineConfig, nr_file_pages: int) -> Machine:
    """The machine with its swap, a page cache for so many pages of files, and memory filled as its state says."""
    m = machine_that_reclaims(m, nr_file_pages)
    set_swap(m, config.swap >> config.page_shift, config.sysctl.swappiness)
    if isinstance(config.state, Filled):
        shares = config.state.filled
        managed = int(m.zones["managed_pages"].sum())
        wanted = shares.nr_pages(managed)
        filled = fill(m, BOOT_CPU, *wanted)
        if filled < sum(wanted):
            found = f"{shares.page_cache + shares.anonymous:.0%} (memory for {filled / managed:.0%})"
            refuse("state_filled", HERE, "machine.state.filled", found)
        for counts in (m.events, m.lru.vm_events, m.work, m.lru.work):
            counts[:] = 0
    return m
