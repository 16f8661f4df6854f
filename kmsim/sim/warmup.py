"""Compile what a run calls, piece by piece, by running each on a small machine."""

from collections.abc import Callable, Iterator

import numpy as np

from kmsim.metrics.histogram import NR_BUCKETS, record_entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.memblock import Boot, PfnRange, boot_machine, recount
from kmsim.mm.mmzone import NO_PAGE
from kmsim.sim.stage import begin, granted


def compile_steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name each piece, and give what compiles it."""
    boot = Boot("x86-64", 12, 10, 9, 9, True, False, 1, (PfnRange(0, 1 << 14),), ())
    yield "the boot", lambda: boot_machine(boot)
    m = boot_machine(boot)
    yield "the recount", lambda: recount(m)
    yield "allocation and freeing", lambda: begin(m, 0, True, GFP_FLAGS["GFP_KERNEL"], 4, NO_PAGE)
    yield "critical sections", lambda: granted(m, 0)
    counts = np.zeros(NR_BUCKETS, np.int64)
    yield "the histograms", lambda: record_entry(counts, np.zeros(3, np.int64), 1)
