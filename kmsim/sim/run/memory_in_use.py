"""From a resolved machine config to a `Machine` that can reclaim: its swap, and the memory that is in use at first.

Leaves out how memory is filled (`mm.fill_memory`). What a state asks for and the machine cannot give is refused as the
config door refuses.
"""

import numpy as np

from kmsim.config.machine import MachineConfig
from kmsim.config.state import Filled
from kmsim.mm.fill_memory import fill
from kmsim.mm.lru_init import machine_that_reclaims, set_swap
from kmsim.mm.mmzone import BOOT_CPU, Machine
from kmsim.mm.oom import PROCESS_IS_UNNAMED, new_processes
from kmsim.sim.run.refusals import HERE, refuse

FIRST_PID = 1000  # assumed: those of a machine that has just booted are lower
PTE_BYTES = 8  # of an entry of the lowest page table; what is above that is left out


def machine_in_use(m: Machine, config: MachineConfig, nr_file_pages: int) -> Machine:
    """The machine with its swap, a page cache for so many pages of files, and memory filled as its state says."""
    m = machine_that_reclaims(m, nr_file_pages)
    set_swap(m, config.swap >> config.page_shift, config.sysctl.swappiness)
    m.lru.oom["killer_disabled"] = m.lru.oom["alone"] = 0
    m.lru.oom["panic_on_oom"] = config.sysctl.panic_on_oom
    if isinstance(config.state, Filled):
        shares = config.state.filled
        managed = int(m.zones["managed_pages"].sum())
        nr_file, of_processes = shares.nr_pages(managed)
        adjs = [process.oom_score_adj for process in shares.all_processes]
        processes = new_processes([(FIRST_PID + p, adj, 0) for p, adj in enumerate(adjs)])
        processes["process_flags"][: len(adjs) - len(shares.processes)] = PROCESS_IS_UNNAMED
        m = m._replace(lru=m.lru._replace(processes=processes))
        filled = fill(m, BOOT_CPU, nr_file, np.array(of_processes, np.int64))
        processes["pgtables"] = -(-processes["anon_rss"] // (config.page_size // PTE_BYTES))
        nr_wanted = nr_file + sum(of_processes)
        if filled < nr_wanted:
            found = f"{nr_wanted / managed:.0%} (memory for {filled / managed:.0%})"
            refuse("state_filled", HERE, "machine.state.filled", found)
        for counts in (m.events, m.lru.vm_events, m.work, m.lru.work):
            counts[:] = 0
    return m
