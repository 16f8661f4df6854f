"""A small scenario that asks every policy, on a machine of each release; the same with and without compilation.

`python -m tests.mm.scenario FILE...` prints as JSON what it comes to with these files in place of the policies of their
names, and, where Python is plain, which verbs of them were asked.
"""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from kmsim.jit_policies import Policies
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.kernels import KERNELS
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE

from . import drivers
from .copies import Asked
from .machines import boot_machine, boot_of, record_of

TEXTS = (
    "GFP_KERNEL",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_ATOMIC",
    "GFP_KERNEL | __GFP_RECLAIMABLE",
    "GFP_KERNEL | __GFP_COMP",
)
NR_OPERATIONS = 400


def play(policies: Policies | None = None, **changes: Any) -> dict[str, object]:
    """Run the scenario: the blocks handed out in order, the counters, the free lists at the end.

    `policies` and `changes`: of the machine.
    """
    m = boot_machine(
        boot_of(
            page_shift=16,
            max_page_order=5,
            pageblock_order=5,
            thp_built_in=False,
            ram=(PfnRange(30, 900),),
            reserved=(PfnRange(100, 140),),
            **changes,
        )
    )._replace(policies=policies)
    random = Random(12)
    gfps = [parse_gfp(text) for text in TEXTS]
    held: list[tuple[int, int]] = []
    handed_out = []
    pages = np.zeros(16, np.int64)
    for number in range(NR_OPERATIONS):
        cpu = random.randrange(2)
        if random.random() < (0.95 if number % 200 < 150 else 0.1):
            order = random.choice((0, 1, 2, 3, 3, 4))
            pfn = drivers.alloc(m, cpu, random.choice(gfps), order)
            handed_out.append(pfn)
            held += [(pfn, order)] if pfn != NO_PAGE else []
        elif held:
            drivers.free(m, cpu, *held.pop(random.randrange(len(held))))
        if number % 50 == 49:
            nr_populated = drivers.bulk(m, cpu, random.choice(gfps), 16, pages)
            handed_out += pages[:nr_populated].tolist()
            drivers.folios(m, cpu, pages[:nr_populated], np.zeros(nr_populated, np.int64))
            drivers.decay(m, cpu, 0)
            drivers.recount(m)
    given_back = [drivers.unreserve(m, 0, gfps[0], 0, force) for force in (False, True)]
    drivers.drain(m, 0, 0, 1)
    drivers.recount(m)
    return {
        "handed_out": handed_out,
        "given_back": given_back,
        "events": m.events.tolist(),
        "state": record_of(m),
        "checked": int(m.work[0].pages_checked),
    }


def play_all(policies: Policies | None = None) -> dict[str, dict[str, object]]:
    """The scenario on a machine of each kernel release, by its name."""
    return {release: play(policies, **kernel._asdict()) for release, kernel in KERNELS.items()}


if __name__ == "__main__":
    copies = {Path(name).stem: Path(name) for name in sys.argv[1:]}
    noted = Asked(copies) if copies else None
    print(json.dumps({"played": play_all(noted), "asked": sorted(noted.asked) if noted else []}))
